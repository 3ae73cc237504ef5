"""A whole training run in one process: the driver's own loop on a cluster in simulated time, and a disk that fails.

    with simulated():
        run = Simulation(folder, Plan(batch_size=3, updates=5))
        run.live(Life(Script(nodes=(2, 1), faults=((3.0, "freeze", 0),)), end=("power", 30)))
        run.flip(which=0, place=0.5)
        run.end()

Pool, learner, recorder, ledger, checkpoints and resume are the product's; only Ray, the clock, the kernel's disk and
the game are stand-ins. A life of the driver is data: what happens to the cluster in it, and what ends it. After each,
`live` asserts what no fault excuses, and `end` that the run comes to what one process computes without any of it.
"""

import functools
import json
import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from simulated_cluster import NEVER, Script
from simulated_driver import DyingDisk, RolloutCluster, WatchedDiary, WatchedRecorder, excused
from small_runs import OF_THE_CLOCK, Killed, Line, disk, seed_of, without_waiting
from tiny_game import TinyGame, tiny_games

from bitexact.cli.exits import BadInput, ClusterLost, DiskRefused, Interrupted
from bitexact.cluster.pool import COUNTED
from bitexact.storage.ledger import METRICS, ROLLOUTS
from bitexact.storage.run_directory import open_for_writing
from training import initial_state, loop, pace, recorder
from training.run_config import opening
from training.settings import REINFORCE, Settings, of_preset
from training.update import compute_update, summarize

# What ends a life: at a call that changes the disk, or at a time.
AT_A_CALL = ("kill", "half", "power", "full", "short", "broken")
AT_A_TIME = ("killed", "powerless", "stopped")
LONGEST_REST_S = 30.0  # of a last, undisturbed life, beside a second for each rollout


@dataclass(frozen=True)
class Plan:
    """What decides a run's result, and how often it is saved."""

    preset: str = REINFORCE
    seed: int = 0
    batch_size: int = 3
    updates: int = 5
    checkpoint_every: int = 2
    keep_checkpoints: int = 1

    def settings(self, directory: Path) -> Settings:
        """The settings of such a run, of a policy as small as can be."""
        small = {"hidden_units": 2, "learning_rate": 1e-2, "run_dir": directory, "rollout_timeout_s": 4.0}
        small |= {} if self.preset == REINFORCE else {"epochs": 1, "minibatch_size": 32}
        return of_preset(**small | vars(self))


@dataclass(frozen=True)
class Life:
    """One driver, from its start to its end."""

    script: Script = field(default_factory=Script)
    slow: tuple[tuple[int, float], ...] = ()  # rollouts, by index, that always take so many seconds
    end: tuple[str, float] | None = None  # what ends it, and at which call or when; None: nothing
    rival_at: int | None = None  # the call at which a second driver tries to begin


@contextmanager
def simulated() -> Iterator[None]:
    """What all simulations share: the tiny game, and no wait for a disk."""
    with tiny_games(), without_waiting(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "connect", lambda address, actors: nullcontext("a simulated cluster"))
        patch.setattr(loop, "noted", lambda path: nullcontext())
        patch.setattr(loop, "end_left_behind", lambda path: 0)
        patch.setattr(loop, "Recorder", WatchedRecorder)
        patch.setattr(loop.deciding_code, "describe_process", lambda: None)
        patch.setattr(loop, "verdicts", SimpleNamespace(make=lambda runs: SimpleNamespace(summary=str)))
        yield


class Simulation:
    """One run, from its first driver to its last."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.plan, self._folder = plan, folder
        self.settings = plan.settings(folder / "run")
        self._directory = self.settings.directory
        self._acknowledged: dict[int, str] = {}  # digests that a driver has said were committed
        self._saved: set[int] = set()  # checkpoints that it has said were written, and that nothing has damaged since
        self._flipped = False
        self.seconds = 0.0  # of simulated time
        self._processes = 1000  # of drivers: each has a number of its own

    # ---- what can be done ----

    def live(self, life: Life) -> str:
        """A driver begins, or goes on, until something ends it. Says what."""
        diary, cluster = WatchedDiary(), RolloutCluster(life.script, life.slow, self.settings)
        begun = self._has_begun()
        settings = replace(self.settings, resume=begun)
        failing = DyingDisk(self._folder, life.end)
        failing.meanwhile(life.rival_at, functools.partial(self._rival, diary, replace(settings, resume=True)))
        ended: BaseException | None = None
        self._processes += 1
        with _on(cluster, self._processes), disk(failing):
            try:
                _drive(settings, diary, _Interrupts(cluster, failing, life.end))
            except (Killed, DiskRefused, ClusterLost, Interrupted, BadInput) as end:
                ended = end
        failing.after()
        self.seconds += cluster.now()
        self._expect_a_reason(ended, life, cluster)
        self._expect_what_was_promised(diary)
        return type(ended).__name__ if ended else "done"

    def _has_begun(self) -> bool:
        try:
            return seed_of(self._directory) == self.plan.seed
        except ValueError:
            raise AssertionError("the run's config is damaged") from None

    def flip(self, which: int, place: float) -> None:
        """A bit of a checkpoint rots, between two lives."""
        found = sorted((self._directory / "checkpoints").glob("update-*.npz"))
        if not found:
            return
        path = found[which % len(found)]
        data = bytearray(path.read_bytes())
        data[int(place * len(data))] ^= 1 << (which % 8)
        path.write_bytes(data)
        self._saved.discard(int(path.stem.removeprefix("update-")))
        self._flipped = True

    def end(self) -> None:
        """Faults stop: the run goes on to its end, which is that of a run without them."""
        began = self.seconds
        life = self.live(Life())
        assert life == "done", f"once faults stop, the run does not end: {life}"
        took_s = self.seconds - began
        longest_s = LONGEST_REST_S + self.plan.batch_size * self.plan.updates
        assert took_s <= longest_s, f"once faults stop, the run still takes {took_s:.0f} s"
        assert self._lines(METRICS) == _undisturbed(self.plan)[METRICS], "the ledger is not an undisturbed run's"
        assert self._lines(ROLLOUTS) == _undisturbed(self.plan)[ROLLOUTS], "rollouts are missing from the ledger"
        left = [path.name for path in self._directory.rglob("*.tmp")]
        assert left == [], "half-written files are left over"

    # ---- what must hold ----

    def _rival(self, diary: WatchedDiary, settings: Settings) -> None:
        """A second driver of the same run, while the first one has it."""
        if diary.began_after is None:
            return
        try:
            with open_for_writing(opening(settings), diary.note):
                diary.intruded = True
        except BadInput as refused:
            diary.intruded = "is being written by" not in str(refused)

    def _expect_a_reason(self, ended: BaseException | None, life: Life, cluster: RolloutCluster) -> None:
        kind = life.end[0] if life.end else ""
        reasons = {
            Killed: kind in ("kill", "half", "power", "killed", "powerless"),
            DiskRefused: kind in ("full", "short", "broken"),
            Interrupted: kind == "stopped",
        }
        if isinstance(ended, ClusterLost | BadInput):
            excused(ended, cluster, self.settings)
        else:
            assert ended is None or reasons[type(ended)], f"the driver ends without a reason: {ended!r}"

    def _expect_what_was_promised(self, diary: WatchedDiary) -> None:
        assert not diary.intruded, "a second driver was let in"
        if diary.began_after is not None:
            self._expect_the_right_beginning(diary.began_after)
        for line in diary.metrics:
            self._acknowledged[line["update"]] = line["weights_digest"]
        for update in diary.checkpointed:
            self._saved = set(sorted({*self._saved, update})[-self.plan.keep_checkpoints :])
            self._flipped = False
        lines, rollouts = self._lines(METRICS), self._lines(ROLLOUTS)
        recorded = {line["update"]: line["weights_digest"] for line in lines}
        for update, digest in self._acknowledged.items():
            assert recorded.get(update) == digest, "an update that was acknowledged is lost or changed"
        undisturbed = _undisturbed(self.plan)
        assert lines == undisturbed[METRICS][: len(lines)], "the ledger parts from that of a run without faults"
        assert rollouts == undisturbed[ROLLOUTS][: len(rollouts)], "a rollout is recorded twice, or out of order"
        assert len(rollouts) >= len(lines) * self.plan.batch_size, "an update is committed without its rollouts"

    def _expect_the_right_beginning(self, began_after: int) -> None:
        saved, last = max(self._saved, default=0), max(self._acknowledged, default=0)
        assert began_after >= saved, "a checkpoint that was acknowledged is lost"
        redone = last - began_after
        assert self._flipped or redone <= self.plan.checkpoint_every, "more is done again than lies between checkpoints"

    def _lines(self, name: str) -> list[Line]:
        """A ledger's whole lines, without what differs from one run to another."""
        path = self._directory / name
        text = path.read_text() if path.exists() else ""
        try:
            return [_lasting(json.loads(line)) for line in text.split("\n")[:-1]]
        except ValueError:
            raise AssertionError("a line of the ledger is damaged") from None


def _lasting(line: Line) -> Line:
    return {key: value for key, value in line.items() if key not in (*OF_THE_CLOCK, *COUNTED)}


@functools.cache
def _undisturbed(plan: Plan) -> dict[str, list[Line]]:
    """The ledger's lines as one process computes them, one rollout after the other, without cluster and disk."""
    settings, game = plan.settings(Path("none")), TinyGame()
    state, rewards = initial_state.from_seed(settings), list[int]()
    lines: dict[str, list[Line]] = {METRICS: [], ROLLOUTS: []}
    for _ in range(plan.updates):
        state, batch = compute_update(settings, state, game)
        lines[METRICS].append({**summarize(batch, rewards), **state.digests()})
        lines[ROLLOUTS] += [record.line() for record in batch.records]
        rewards += [record.reward for record in batch.records]
    return {name: [_lasting(json.loads(json.dumps(line))) for line in found] for name, found in lines.items()}


# ---- one driver ---------------------------------------------------------------------------------------------------


def _drive(settings: Settings, diary: WatchedDiary, interrupts: "_Interrupts") -> None:
    with open_for_writing(opening(settings), diary.note) as run:
        loop.train(settings, run, None, diary, interrupts)  # type: ignore[arg-type]


@contextmanager
def _on(cluster: RolloutCluster, process: int) -> Iterator[None]:
    """The loop finds this cluster where Ray would be, its clock, and itself a process with a number."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: process)
        patch.setattr(loop, "RayCluster", lambda *arguments, **named: cluster)
        patch.setattr(recorder, "time", SimpleNamespace(monotonic=cluster.now))
        patch.setattr(pace, "time", SimpleNamespace(perf_counter=cluster.now))
        yield


class _Interrupts:
    """A signal, or the process's sudden end, at a time."""

    def __init__(self, cluster: RolloutCluster, failing: DyingDisk, end: tuple[str, float] | None) -> None:
        self._cluster, self._failing = cluster, failing
        self._kind, self._when = end if end and end[0] in AT_A_TIME else ("", NEVER)

    def check(self) -> None:
        """What the pool and the loop ask again and again."""
        self._cluster.listener.check_interrupt()
        if self._cluster.now() < self._when or not math.isfinite(self._when):
            return
        if self._kind == "stopped":
            raise Interrupted(signal.SIGTERM)
        self._failing.die()
