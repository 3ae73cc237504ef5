"""Short histories that are played again by `test_simulation.py`, as they were printed when they were found and shrunk.

`FATAL` has, for a bug of `planted/fault_bugs.py`, a history that brings it out and the property that fails then.
Without the bug each of them ends well.
"""

from dataclasses import replace
from typing import NamedTuple

from histories import Flip, History
from simulated_cluster import Script
from simulation import Life, Plan


class Fatal(NamedTuple):
    """What brings a bug out, and what is said of it."""

    history: History
    found_by: str


_SHORT = Plan(batch_size=1, checkpoint_every=1)
_TWO = Plan(batch_size=2, checkpoint_every=1)
_FAR = Plan(batch_size=2, checkpoint_every=3)
_OTHER = "the ledger parts from that of a run without faults"
_LOST = "an update that was acknowledged is lost or changed"
_GONE = "a checkpoint that was acknowledged is lost"

FATAL = {
    "committed-before-its-rollouts": Fatal(
        (_SHORT, Life(slow=((0, 6.0),), end=("kill", 17))), "an update is committed without its rollouts"
    ),
    "line-not-synchronised": Fatal((_SHORT, Life(end=("power", 15))), _LOST),
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
    "frozen-actor-kept": Fatal((_TWO, Life(script=Script(faults=((1.5, "freeze_node", 0),)))), "the run does not end"),
    "damage-not-looked-for": Fatal((_TWO, Life(script=Script(faults=((1.5, "damage", 0),)))), _OTHER),
    "damaging-node-kept": Fatal(
        (_TWO, Life(script=Script(faults=tuple((when, "damage", 0) for when in (1.5, 2.5, 3.5, 3.6))))),
        "there are actors on refused nodes {'nN'}",
    ),
    "silence-taken-for-loss": Fatal(
        (_TWO, Life(script=Script(faults=((1.5, "silence", 1),)))), "a silent head is given up too early"
    ),
    "lost-actor-not-stopped": Fatal(
        (_TWO, Life(script=Script(faults=((1.5, "kill", 0),)))), "more actors than CPUs on nN"
    ),
    "sum-in-order-of-arrival": Fatal((Plan(), Life(slow=((0, 6.0),))), _OTHER),
    "games-in-order-of-arrival": Fatal(
        (Plan(preset="ppo", batch_size=2), Life(script=Script(faults=((1.5, "kill", 0),)))), _OTHER
    ),
    "names-not-synchronised": Fatal((_SHORT, Life(end=("power", 15))), _LOST),
    "renamed-before-it-is-synchronised": Fatal((_SHORT, Life(end=("power", 10))), "the run's config is damaged"),
    "written-in-place": Fatal((_SHORT, Life(end=("half", 7))), "the run's config is damaged"),
    "short-write-taken-for-whole": Fatal((_SHORT, Life(end=("short", 16))), _LOST),
    "refusal-swallowed": Fatal((_SHORT, Life(end=("full", 12))), _LOST),
    "leftovers-kept": Fatal((_SHORT, Life(end=("half", 7))), "half-written files are left over"),
    "rollouts-recorded-again": Fatal((_TWO, Life(end=("half", 12))), "a rollout is recorded twice, or out of order"),
    "updates-recorded-again": Fatal((_FAR, Life(end=("killed", 3.0))), _OTHER),
    "torn-line-kept": Fatal((_SHORT, Life(end=("half", 12))), "a line of the ledger is damaged"),
    "old-checkpoint-deleted-first": Fatal((_SHORT, Life(end=("kill", 33))), _GONE),
    "resume-from-the-ledgers-end": Fatal((_FAR, Life(end=("killed", 3.0))), _OTHER),
    "rewards-forgotten": Fatal((_SHORT, Life(end=("killed", 3.0))), _OTHER),
    "first-damage-ends-the-search": Fatal(
        (replace(_TWO, keep_checkpoints=2), Life(end=("killed", 5.0)), Flip(which=1, place=0.0)), _GONE
    ),
}
