"""Histories of a simulated run: drawn by hypothesis, printed as they would be typed, shrunk to a few lines.

    python tests/histories.py --histories=10000 --seed=1        a campaign, and what it met

A history is a plan and what happens: lives of the driver, and bits that rot between them. What must hold is asserted by
`simulation.Simulation` after each life and at the end. One that fails is printed; shrunk, it belongs into
`kept_histories.py`.
"""

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from simulated_cluster import DIES, NEVER, RAISES, Script
from simulation import AT_A_CALL, AT_A_TIME, Life, Plan, Simulation, simulated

FAULTS = (
    *("kill", "freeze", "stall", "thaw", "freeze_node", "thaw_node", "lose_result", "damage", "lose_shared"),
    *("leave", "join", "spoil", "silence", "stand_still"),
)
LIVES = 4  # at most, before the last one
_NUMBERS = {"inf": "NEVER", "-1.0": "DIES", "-2.0": "RAISES"}


class Flip(NamedTuple):
    """A bit of a checkpoint rots: of which, and where in it."""

    which: int
    place: float


Step = Life | Flip
History = tuple[Plan, *tuple[Step, ...]]


def play(history: History, folder: Path) -> list[str]:
    """Let it happen, and then come to its end; how each life ended. Raises AssertionError, PropertyFailed, any bug."""
    plan, *steps = history
    run = Simulation(folder, plan)
    ends = [run.flip(*step) if isinstance(step, Flip) else run.live(step) for step in steps]
    run.end()
    return [end for end in ends if end]


def told(history: Iterable[Any]) -> str:
    """A history as it would be typed."""
    return "(\n" + "".join(f"    {typed(step)},\n" for step in history) + ")"


def typed(value: Any) -> str:
    """A value as source, without what is as usual."""
    if dataclasses.is_dataclass(value):
        usual = type(value)()
        names = [field.name for field in dataclasses.fields(value)]
        changed = [name for name in names if getattr(value, name) != getattr(usual, name)]
        return f"{type(value).__name__}({', '.join(f'{name}={typed(getattr(value, name))}' for name in changed)})"
    if isinstance(value, float):
        return _NUMBERS.get(repr(value), repr(value))
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return f"({', '.join(map(typed, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


# ---- drawn --------------------------------------------------------------------------------------------------------

_times = st.integers(0, 40).map(lambda halves: halves / 2)
_scripts = st.builds(
    Script,
    nodes=st.lists(st.sampled_from([2, 1, 3, 2, 1, 0]), min_size=1, max_size=3).map(tuple),
    starts=st.lists(st.sampled_from([1.0, 0.1, 20.0, 1.0, 0.5, DIES, RAISES, NEVER]), max_size=3).map(tuple),
    durations=st.lists(st.sampled_from([1.0, 0.3, 3.0, 6.0, 9.0, 30.0, NEVER]), max_size=4).map(tuple),
    places=st.lists(st.integers(0, 3), max_size=3).map(tuple),
    faults=st.lists(st.tuples(_times, st.sampled_from(FAULTS), st.integers(0, 5)), max_size=5).map(tuple),
)
_ends = st.one_of(
    st.none(),
    st.tuples(st.sampled_from(AT_A_CALL), st.integers(1, 120)),
    st.tuples(st.sampled_from(AT_A_TIME), _times),
)
lives = st.builds(
    Life,
    script=_scripts,
    slow=st.lists(st.tuples(st.integers(0, 2), st.sampled_from([6.0, 20.0, 50.0])), max_size=1).map(tuple),
    end=_ends,
    rival_at=st.none() | st.integers(1, 60),
)
plans = st.builds(
    Plan,
    preset=st.sampled_from(["reinforce", "ppo"]),
    seed=st.integers(0, 3),
    batch_size=st.integers(1, 4),
    updates=st.just(5),
    checkpoint_every=st.integers(1, 3),
    keep_checkpoints=st.integers(1, 2),
)


class Histories(RuleBasedStateMachine):
    """One run that anything may happen to, and then nothing more."""

    met: ClassVar[Counter[str]] = Counter()  # in all histories of this process
    failed: tuple[Any, ...] = ()  # the last history that did
    calm = False  # drivers come and go, and nothing fails

    def __init__(self) -> None:
        super().__init__()
        self._folder = Path(tempfile.mkdtemp(dir=memory_disk()))
        self._history: list[Any] = []
        self.met["histories"] += 1

    @initialize(plan=plans)
    def begins(self, plan: Plan) -> None:
        """What the run is to be."""
        self._history.append(plan)
        self._run = Simulation(self._folder, plan)

    @rule(life=lives)
    def lives(self, life: Life) -> None:
        """A driver."""
        self._does(Life() if self.calm else life)

    @rule(flip=st.builds(Flip, st.integers(0, 15), st.integers(0, 99).map(lambda percent: percent / 100)))
    def rots(self, flip: Flip) -> None:
        """A bit of what it left."""
        if not self.calm:
            self._does(flip)

    def teardown(self) -> None:
        """The last driver, which nothing disturbs."""
        try:
            if self._history and self._history[-1] is not None:
                self._does(None)
        finally:
            shutil.rmtree(self._folder)

    def _does(self, step: Step | None) -> None:
        try:
            if step is None:
                self._run.end()
                self.met["simulated seconds"] += round(self._run.seconds)
            elif isinstance(step, Flip):
                self._history.append(step)
                self._run.flip(*step)
            else:
                self._history.append(step)
                self._count(step, self._run.live(step))
        except BaseException:
            type(self).failed = tuple(self._history)
            self._history.append(None)  # it is over
            raise

    def _count(self, life: Life, ended: str) -> None:
        self.met.update({"lives": 1, "faults": len(life.script.faults), f"life ended: {ended}": 1})


def memory_disk() -> str | None:
    """A folder that no real disk is behind, if there is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def search(histories: int, number: int | None = None, phases: Sequence[Phase] = tuple(Phase)) -> None:
    """Draw histories until one fails, and shrink that. Raises what it raises. Without a number always the same ones."""
    Histories.failed = ()
    chosen = settings(
        max_examples=histories,
        stateful_step_count=LIVES,
        deadline=None,
        database=None,
        derandomize=number is None,
        report_multiple_bugs=False,
        phases=[phase for phase in phases if phase not in (Phase.reuse, Phase.explain)],
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Histories if number is None else seed(number)(Histories), settings=chosen)


def main(arguments: Sequence[str]) -> int:
    """Play histories, and say what they met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args(arguments)
    began = time.monotonic()
    failure: BaseException | None = None
    with simulated():
        try:
            search(chosen.histories, chosen.seed)
        except BaseException as raised:
            failure = raised
    for name, count in sorted(Histories.met.items()):
        print(f"{count:9,} {name}")
    print(f"{time.monotonic() - began:9,.0f} seconds")
    if failure:
        print(f"{type(failure).__name__}: {failure}\n{told(Histories.failed)}")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
