"""What the driver does itself, apart from actors: the sum of a large batch, the bytes that come in, the first update.

python -m benchmarks.run --only driver           300 recorded rollouts through the driver's parts, ledger, checkpoint
python -m benchmarks.run --only start            from the command to the first update committed
"""

import dataclasses
import pickle
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, Result, median_of
from benchmarks.updates import Silent
from bitexact.determinism.digests import fingerprint
from bitexact.storage.run_directory import RunDirectory, open_for_writing
from bitexact.storage.state import State
from pong.game import Pong
from pong.play import RolloutId
from training.recorder import Recorder
from training.rollout_record import RolloutRecord
from training.rollout_task import task_of
from training.run_config import opening
from training.settings import PPO, REINFORCE, Preset, Settings, of_preset
from training.update import new_batch
from workload.driver_command import DRIVER, committed

_START_TIMEOUT_S = 120.0
Recorded = list[tuple[Any, RolloutRecord]]


def record_rollouts(settings: Settings, state: State, count: int) -> Recorded:
    """The first rollouts of the update after a state, computed here."""
    task, game = task_of(settings), Pong()
    names = [RolloutId(settings.seed, state.update + 1, index) for index in range(count)]
    return [task.run(game, state.weights, name) for name in names]


def as_rollout(recorded: Recorded, state: State, index: int) -> tuple[Any, RolloutRecord]:
    """A recorded rollout under another index of the update after a state."""
    result, record = recorded[index % len(recorded)]
    return result, dataclasses.replace(
        record, update=state.update + 1, index=index, weights=fingerprint(state.weights), seal=""
    )


def measure(smallest: bool) -> Result:
    """A large batch's own work a rollout, and the bytes that an actor sends, for each preset."""
    figures: list[Figure] = []
    series: dict[str, Any] = {}
    presets: dict[Preset, int] = {PPO: 3, REINFORCE: 10}
    for preset, updates in presets.items():
        changes = {"batch_size": 4, "hidden_units": 8} if smallest else {"batch_size": 300}
        with tempfile.TemporaryDirectory() as folder:
            settings = of_preset(preset, run_dir=Path(folder) / "run", **changes)
            own_ms, learning_ms, sent = _work(settings, 1 if smallest else 10, 2 if smallest else updates)
        what = f"{preset}, batch {settings.batch_size}"
        figures += [
            median_of(f"{what}: the driver's own work, a rollout", own_ms, "ms", at_most=2.0),
            median_of(f"{what}: learning, a rollout of the beginning's 1,000 steps", learning_ms, "ms"),
            Figure(f"{preset}: from actor to driver, a rollout", sent / 1e6, "MB", at_most=5.2),
        ]
        series[preset] = {"own_ms_per_rollout": own_ms, "learning_ms_per_rollout": learning_ms}
    return Result(figures, series)


def _work(settings: Settings, recorded_count: int, updates: int) -> tuple[list[float], list[float], int]:
    """Milliseconds a rollout of the driver's own work and of learning, update by update; and a rollout's bytes."""
    own_ms, learning_ms = [], []
    opened: AbstractContextManager[RunDirectory] = open_for_writing(opening(settings), print)
    with opened as run:
        recorder = Recorder(settings, run, Silent())
        state = recorder.restore()
        recorded = record_rollouts(settings, state, recorded_count)
        for _ in range(updates):
            arrivals = [as_rollout(recorded, state, index) for index in range(settings.batch_size)]
            began = time.perf_counter()
            batch = new_batch(settings, state)
            for result, record in arrivals:
                batch.add(result, record)
            learning_began = time.perf_counter()
            state = batch.learn()
            learned = time.perf_counter()
            recorder.commit(state, batch, Counter())
            learning_s = learned - learning_began
            own_ms.append((time.perf_counter() - began - learning_s) / settings.batch_size * 1e3)
            learning_ms.append(learning_s / settings.batch_size * 1e3)
    return own_ms, learning_ms, _bytes(recorded[0])


def _bytes(value: Any) -> int:
    """What Ray sends of a value: arrays apart, beside their pickle."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    return len(head) + sum(memoryview(buffer).nbytes for buffer in buffers)


def measure_start(smallest: bool) -> Result:
    """Seconds from starting `driver.py` to its first update committed."""
    rounds, flags = (1, ["--batch-size=1", "--hidden-units=8"]) if smallest else (5, ["--batch-size=10"])
    with tempfile.TemporaryDirectory() as folder:
        seconds = [_first_update_s([*flags, "--updates=1", f"--run-dir={folder}/{i}"]) for i in range(rounds)]
    return Result([median_of("first update committed after the command", seconds, "s", at_most=10.0)])


def _first_update_s(flags: list[str]) -> float:
    began = time.monotonic()
    with subprocess.Popen([*DRIVER, *flags], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        try:
            for line in driver.stdout:
                if committed(line):
                    return time.monotonic() - began
        finally:
            driver.communicate(timeout=_START_TIMEOUT_S)
    raise RuntimeError(f"driver.py ended with {driver.returncode} before its first update")
