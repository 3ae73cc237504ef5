"""What the properties cost: the time spent in `invariants` and in what is computed for them alone.

    python -m benchmarks.run --only invariants

Updates are computed in one process, without Ray, by the driver's own parts. The SDK chooses its output when it is
imported, so there is a process for each: without local output, and with it.
"""

import inspect
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import cast

from benchmarks.figures import Figure, Result
from bitexact.cli.process_environment import LOCAL_OUTPUT, PROPERTIES_FOLDER
from training.run_config import opening
from training.settings import PPO, REINFORCE, Preset, of_preset

_ROOT = Path(__file__).resolve().parent.parent
_UPDATES = 10  # in one of ten, the sum is compared with a float64 sum


def measure(smallest: bool) -> Result:
    """The share of the time, both presets, without and with local output."""
    size = ("1", "1") if smallest else ("2", str(_UPDATES))  # batch size, updates
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for preset, (output, at_most) in itertools.product((PPO, REINFORCE), (("off", 1.0), ("on", 2.0))):
            clean = {name: value for name, value in os.environ.items() if name != PROPERTIES_FOLDER}
            if output == "on":
                clean[LOCAL_OUTPUT] = str(Path(folder) / f"{preset}.jsonl")
            command = [sys.executable, "-m", "benchmarks.invariants_cost", preset, *size]
            done = subprocess.run(command, cwd=_ROOT, env=clean, stdout=subprocess.PIPE, check=True)
            shares = json.loads(done.stdout.splitlines()[-1])
            what = f"{preset}, local output {output}"
            figures.append(Figure(f"{what}: properties", shares["properties"], "%", at_most=at_most))
            figures.append(Figure(f"{what}: the float64 sum beside", shares["float64 sum"], "%"))
    return Result(figures)


def _shares(preset: Preset, batch_size: int, updates: int) -> dict[str, float]:
    """Per cent of what the updates take without them."""
    import invariants
    from benchmarks.stopwatch import Stopwatch
    from benchmarks.updates import Silent
    from bitexact.determinism import tree_sum
    from bitexact.storage.run_directory import open_for_writing
    from pong.game import Pong
    from training import referee
    from training.recorder import Recorder
    from training.update import compute_update

    watch, silent = Stopwatch(), Silent()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as open_:
        settings = of_preset(preset, batch_size=batch_size, run_dir=Path(folder) / "run")
        recorder = Recorder(settings, open_.enter_context(open_for_writing(opening(settings), silent.note)), silent)
        game, state = Pong(), recorder.restore()
        for name, function in inspect.getmembers(invariants, inspect.isfunction):
            if "where" in inspect.signature(function).parameters:
                open_.enter_context(watch.on(invariants, name, "properties"))
        for name in ("__init__", "add", "excess"):
            open_.enter_context(watch.on(tree_sum.Float64Sum, name, "float64 sum"))
        for name in ("gradient_excess", "clip_excess", "step_excess"):
            open_.enter_context(watch.on(referee, name, "float64 sum"))
        began = time.perf_counter()
        for _ in range(updates):
            state, batch = compute_update(settings, state, game)
            recorder.commit(state, batch, Counter())
        whole_s = time.perf_counter() - began
    without_s = whole_s - sum(watch.seconds.values())
    return {name: 100.0 * seconds / without_s for name, seconds in watch.seconds.items()}


if __name__ == "__main__":
    print(json.dumps(_shares(cast(Preset, sys.argv[1]), *map(int, sys.argv[2:]))))
