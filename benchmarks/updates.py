"""Updates on Ray, as the driver makes them: how busy the actors are, what the driver does itself, what memory it takes.

    python -m benchmarks.run --only updates                updates of 10 rollouts by 2 actors, both presets
    python -m benchmarks.run --only published-example            an update against the published example's, in turns
    python -m benchmarks.run --only soak                   memory over 1,000 updates of 2 rollouts (make soak)

The loop is driver.py's, with a clock between its verbs. The actors are `PongEnv` that also keeps when it was busy; all
processes of one machine share the clock.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray

from benchmarks.figures import Figure, Result, median_of
from bitexact.cli.progress import Progress
from bitexact.cluster.interface import PoolSettings
from bitexact.cluster.pool import Pool
from bitexact.cluster.ray_cluster import RayCluster
from bitexact.cluster.ray_session import connect
from bitexact.cluster.worker import Worker
from bitexact.storage.run_directory import open_for_writing
from bitexact.storage.state import State
from examples import naive_pong
from pong.game import Pong
from training.loop import arrivals
from training.recorder import Recorder
from training.run_config import opening
from training.settings import PPO, REINFORCE, Preset, Settings, of_preset
from training.update import new_batch

_ACTORS = 2
_MB = 1e6
_SMALLEST = {"batch_size": 2, "hidden_units": 8}
_OF_MEMORY = ("actor", "driver", "object store")


@ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
class WatchedPongEnv(Worker):
    """PongEnv that keeps when it was busy."""

    def __init__(self) -> None:
        super().__init__(Pong())
        self._spans: list[tuple[int, float, float]] = []

    def run(self, shared: Any, task: Any, key: Any, named: str = "") -> Any:
        """As PongEnv does, between two looks at the clock."""
        began = time.monotonic()
        outcome = super().run(shared, task, key, named)
        self._spans.append((key.update, began, time.monotonic()))
        return outcome

    def spans(self) -> list[tuple[int, float, float]]:
        """Update, begin and end of each rollout."""
        return self._spans


class WatchedCluster(RayCluster):
    """Ray's cluster that keeps its actors."""

    def start_actor(self, node: Any) -> tuple[Any, Any]:
        """As RayCluster does."""
        actor, greeting = super().start_actor(node)
        self.actors = [*getattr(self, "actors", []), actor]
        return actor, greeting


class Listener:
    """Takes what the pool says; nothing is expected to go wrong here."""

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        """Shown."""
        print(text)

    def check_interrupt(self) -> None:
        """Ctrl-C ends it as it is."""


class Silent(Progress):
    """Shows nothing."""

    def note(self, text: str) -> None:
        """Not shown."""

    def update(self, metrics: Any) -> None:
        """Not shown."""


@dataclass(frozen=True)
class Lap:
    """One update, seen from the driver. Seconds on the monotonic clock."""

    began: float
    ended: float
    own_s: float  # taking in, ledger, metrics, checkpoint
    learning_s: float  # the step, or the many small ones
    gap_s: float  # the part of both after the last result, when no actor works
    steps: int


class Training:
    """A run of the driver's own parts on Ray, update by update."""

    def __init__(self, settings: Settings, recorder: Recorder) -> None:
        self.settings, self._recorder = settings, recorder
        self.state: State = recorder.restore()
        self.cluster = WatchedCluster(WatchedPongEnv)
        self._pool = Pool(self.cluster, PoolSettings(_ACTORS, settings.batch_size), Listener())
        self._pool.wait_until_ready()

    def lap(self) -> Lap:
        """One update, as driver.train has it."""
        began, own_s, clock = time.monotonic(), 0.0, time.monotonic
        batch = new_batch(self.settings, self.state)
        for result, record in arrivals(self._pool, batch, self.state.weights):
            arrived = clock()
            batch.add(result, record)
            taken_in = clock()
            own_s += taken_in - arrived
        learning_began = clock()
        self.state = batch.learn()
        learned = clock()
        self._recorder.commit(self.state, batch, self._pool.take_counts())
        ended = clock()
        steps = sum(record.steps for record in batch.records)
        return Lap(began, ended, own_s + ended - learned, learned - learning_began, ended - arrived, steps)

    def spans(self) -> list[list[tuple[int, float, float]]]:
        """Of each actor, its rollouts."""
        return ray.get([handle.actor.spans.remote() for handle in self.cluster.actors], timeout=60)

    def memory_mb(self) -> dict[str, float]:
        """Resident memory of the largest actor and of the driver, and what the object store holds."""
        actors = ray.get([handle.actor.greet.remote(()) for handle in self.cluster.actors], timeout=60)
        resident = [psutil.Process(actor.process).memory_info().rss for actor in actors]
        return {
            "actor": max(resident) / _MB,
            "driver": psutil.Process().memory_info().rss / _MB,
            "object store": _store_bytes() / _MB,
        }


def _store_bytes() -> int:
    from ray._private import internal_api, state  # there is no public way without a dashboard

    used: int = internal_api.get_memory_info_reply(state.state).store_stats.object_store_bytes_used
    return used


@contextmanager
def training(preset: Preset, **changes: Any) -> Iterator[Training]:
    """A new run in a temporary directory, on Ray started for it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = of_preset(preset, run_dir=Path(folder) / "run", actors=_ACTORS, **changes)
        with open_for_writing(opening(settings), print) as run, connect(None, _ACTORS):
            recorder = Recorder(settings, run, Silent())
            yield Training(settings, recorder)


def measure(smallest: bool) -> Result:
    """Actors' busy time, the driver's own work, memory, for both presets."""
    figures: list[Figure] = []
    series: dict[str, Any] = {}
    presets: dict[Preset, int] = {PPO: 30, REINFORCE: 100}
    for preset, updates in presets.items():  # the former's games grow long: they are played better
        of_preset_found, series[preset] = _measure(preset, 2 if smallest else updates, **_SMALLEST if smallest else {})
        figures += of_preset_found
    return Result(figures, series)


def _measure(preset: Preset, updates: int, **changes: Any) -> tuple[list[Figure], dict[str, list[float]]]:
    with training(preset, **changes) as run:
        laps = [run.lap() for _ in range(updates)]
        memory, spans = run.memory_mb(), run.spans()
    busy, tails = zip(*(_busy_and_tail(lap, number, spans) for number, lap in enumerate(laps, 1)), strict=True)
    own, learned, gaps = (
        [100.0 * getattr(lap, name) / (lap.ended - lap.began) for lap in laps]
        for name in ("own_s", "learning_s", "gap_s")
    )
    after = f"after {updates} updates"
    figures = [
        median_of(f"{preset}: actors' busy time over wall time", list(busy), at_least=0.93),
        median_of(f"{preset}: idle tail, an actor has no rollout left, another plays its last", list(tails)),
        median_of(f"{preset}: learning, of an update", learned, "%", at_most=25.0),
        median_of(f"{preset}: the driver's own work beside, of an update", own, "%", at_most=3.0),
        median_of(f"{preset}: of both after the last result, while actors wait", gaps, "%"),
        Figure(f"{preset}: actor's memory {after}", memory["actor"], "MB", at_most=300.0),
        Figure(f"{preset}: driver's memory {after}", memory["driver"], "MB"),
        Figure(f"{preset}: object store {after}", memory["object store"], "MB"),
    ]
    return figures, {"busy": list(busy), "tail": list(tails), "own_percent": own, "learning_percent": learned}


def _busy_and_tail(lap: Lap, update: int, spans: list[list[tuple[int, float, float]]]) -> tuple[float, float]:
    """Shares of the actors' time in an update."""
    mine = [[(began, ended) for number, began, ended in actor if number == update] for actor in spans]
    available_s = len(spans) * (lap.ended - lap.began)
    busy_s = sum(ended - began for actor in mine for began, ended in actor)
    ends = [max((ended for _, ended in actor), default=lap.began) for actor in mine]
    return busy_s / available_s, sum(max(ends) - end for end in ends) / available_s


def measure_published_example(smallest: bool) -> Result:
    """Updates of 10 rollouts in turns with the published example's, on one Ray and the same two CPUs."""
    rounds, most_steps = (1, 30) if smallest else (6, float("inf"))
    ratios, ours, theirs = [], [], []
    with training(REINFORCE, **_SMALLEST if smallest else {}) as run:
        model, players = naive_pong.Model(seed=0), naive_pong.start(run.settings.batch_size)
        naive_pong.update(model, players, 0, most_steps=2)  # all have started
        run.lap()
        for number in range(rounds):
            lap = run.lap()
            began = time.monotonic()
            steps, _ = naive_pong.update(model, players, 1000 * (number + 1), most_steps)
            theirs.append((time.monotonic() - began) / steps * 1e6)
            ours.append((lap.ended - lap.began) / lap.steps * 1e6)
            ratios.append(theirs[-1] / ours[-1])
    figures = [
        median_of("times as fast as the published example, per step of an update", ratios, at_least=3.0),
        median_of("a step of an update, by 2 actors", ours, "us"),
        median_of("a step of the published example's", theirs, "us"),
    ]
    return Result(figures, {"ours_us": ours, "published_us": theirs})


def measure_soak(smallest: bool) -> Result:
    """Memory over many updates. Batches of 2 keep the time short, steps of no length the games as they are."""
    updates, every = (4, 1) if smallest else (1000, 50)
    changes = {"batch_size": 2, "learning_rate": 1e-30, "learning_rate_end": 1e-30}
    samples = []
    with training(PPO, **changes | (_SMALLEST if smallest else {})) as run:
        for number in range(1, updates + 1):
            run.lap()
            if number % every == 0:
                samples.append({"update": number, **run.memory_mb()})
    early = next(sample for sample in samples if sample["update"] >= updates // 10)
    since = f"growth from update {early['update']} to {updates}"
    figures = [
        Figure(f"actor's memory after {updates} updates", samples[-1]["actor"], "MB", at_most=300.0),
        *(Figure(f"{who}: {since}", samples[-1][who] - early[who], "MB") for who in _OF_MEMORY),
    ]
    return Result(figures, {"memory_mb": samples})
