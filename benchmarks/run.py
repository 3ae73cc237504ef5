"""Measure how fast the trainer is, and whether it stays so as batch and cluster grow. Docs: docs/benchmarks.md.

    python -m benchmarks.run                            all but the soak; needs a machine that does nothing else
    python -m benchmarks.run --only rollout published-example some of them; what was found before of the others stays
    python -m benchmarks.run --only soak                1,000 updates (make soak)
    python -m benchmarks.run --smallest --results=FILE  each at its smallest: shows that it works, measures nothing

Measures: rollout, invariants, equal-bits, driver, start, updates, published-example, many-actors, across-nodes, soak.
Each is a process of its own; its figures go into benchmarks/results.json, then one table of all is shown. Whether a
goal is met does not change the exit code: a noisy machine must fail no build. Exit codes: 0 measured, 2 bad input;
others as every command's (bitexact/cli/exits.py, and --help).
"""

import importlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.figures import load, save, show
from bitexact.cli import command_line, exits, process_environment
from bitexact.cli.exits import BadInput, Ended, Interrupted
from bitexact.cli.interrupts import Interrupts

_ROOT = Path(__file__).resolve().parent.parent
_RESULTS = _ROOT / "benchmarks" / "results.json"
_PART = "RAY_PONG_BENCHMARK_PART"  # set in the process of one of several measures

# Measure: module of `benchmarks` and function in it.
MEASURES = {
    "rollout": ("rollout_cost", "measure"),
    "invariants": ("invariants_cost", "measure"),
    "equal-bits": ("equal_bits", "measure"),
    "driver": ("driver_work", "measure"),
    "start": ("driver_work", "measure_start"),
    "updates": ("updates", "measure"),
    "published-example": ("updates", "measure_published_example"),
    "many-actors": ("many_actors", "measure"),
    "across-nodes": ("across_nodes", "measure"),
    "soak": ("updates", "measure_soak"),
}
_ALL = tuple(name for name in MEASURES if name != "soak")


@dataclass(frozen=True)
class Arguments:
    """Measure how fast the trainer is."""

    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MEASURE")] = _ALL
    """Which measures."""
    smallest: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Each measure at its smallest size: to see that it works."""
    results: Annotated[Path, tyro.conf.arg(metavar="FILE")] = _RESULTS
    """Where the figures are kept."""


def main(arguments: Sequence[str]) -> None:
    """Measure, keep, show."""
    chosen = command_line.parse(Arguments, arguments, "python -m benchmarks.run")
    unknown = [name for name in chosen.only if name not in MEASURES]
    if unknown:
        raise BadInput(f"there is no measure {unknown[0]}: choose among {', '.join(MEASURES)}.")
    if chosen.smallest and chosen.results == _RESULTS:
        raise BadInput("--smallest measures nothing: name another file for what it writes with --results.")
    Interrupts()  # SIGTERM too ends it in order: what was started is stopped
    for name in chosen.only:
        print(f"measuring {name} ...", flush=True)
        if len(chosen.only) == 1:
            _measure(name, chosen)
        else:
            _measure_apart(name, chosen)
    if len(chosen.only) > 1 or not os.environ.get(_PART):
        show(load(chosen.results))


def _measure(name: str, chosen: Arguments) -> None:
    """Measure here. Ray and the SDK are imported only now: they read the environment then."""
    os.environ["PYTHONPATH"] = str(_ROOT)  # for Ray's workers
    with tempfile.TemporaryDirectory() as folder:
        process_environment.prepare_driver(Path(folder), embedded=True)
        module, function = MEASURES[name]
        try:
            result = getattr(importlib.import_module(f"benchmarks.{module}"), function)(chosen.smallest)
        except SystemError as error:  # in which Ray's C++ part wraps what a signal's handler raises
            raise error.__cause__ if isinstance(error.__cause__, Interrupted) else error from None
    save(chosen.results, name, result)


def _measure_apart(name: str, chosen: Arguments) -> None:
    flags = [f"--only={name}", f"--results={chosen.results}", *(["--smallest"] if chosen.smallest else [])]
    command = [sys.executable, "-m", "benchmarks.run", *flags]
    own = {"PYTHONPATH": str(_ROOT), _PART: name}
    with subprocess.Popen(command, env={**os.environ, **own}) as measure:
        try:
            measure.wait()
        except Interrupted:
            measure.terminate()  # and the block waits until it has stopped what it started
            raise
    if measure.returncode:
        end = Ended(f"{name} could not be measured: its process ended with {measure.returncode}.")
        end.exit_code = measure.returncode if measure.returncode > 0 else 1
        raise end


if __name__ == "__main__":
    exits.run(main)
