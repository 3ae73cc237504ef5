"""Short histories that are played again by `test_simulation.py`, as they were printed when they were found and shrunk.

`FATAL` has, for a bug of `planted/fault_bugs.py`, a history that brings it out and the property that fails then.
Without the bug each of them ends well.
"""

from typing import NamedTuple

from histories import History
from simulated_cluster import Script
from simulation import Life, Plan


class Fatal(NamedTuple):
    """What brings a bug out, and what is said of it."""

    history: History
    found_by: str


_SHORT = Plan(batch_size=1, checkpoint_every=1)

FATAL = {
    "committed-before-its-rollouts": Fatal(
        (_SHORT, Life(slow=((0, 6.0),), end=("kill", 17))), "an update is committed without its rollouts"
    ),
    "line-not-synchronised": Fatal(
        (_SHORT, Life(end=("power", 15))), "an update that was acknowledged is lost or changed"
    ),
    "lock-skipped": Fatal((_SHORT, Life(rival_at=9)), "a second driver was let in"),
    "deadline-never-doubles": Fatal((_SHORT, Life(slow=((0, 20.0),))), "a rollout never comes to its end"),
    "late-duplicate-counted": Fatal(
        (Plan(batch_size=2, checkpoint_every=1), Life(slow=((0, 6.0),))), "a result comes from the current weights"
    ),
    "absence-not-forgiven": Fatal(
        (_SHORT, Life(script=Script(faults=((1.5, "stand_still", 0),)))),
        "an actor at work is killed before its time is over",
    ),
    "lost-weights-replaced-by-old-ones": Fatal(
        (_SHORT, Life(script=Script(faults=((2.5, "lose_shared", 0),)))), "a result comes from the current weights"
    ),
}
