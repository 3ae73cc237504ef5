"""The command line of the examples: train, go on, or replay, in a run directory.

Exit codes: as those of driver.py.
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line, exits, process_environment
from bitexact.cli.interrupts import Interrupts


@dataclass(frozen=True)
class Arguments:
    """What each example takes."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run directory."""
    updates: int = 60
    """Stop after so many."""
    seed: int = 0
    """All randomness comes from it."""
    actors: int = 2
    """Actors that play. Never changes the result."""
    replay: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Recompute what the run recorded, and compare."""


def run(kind: type[Arguments], program: str, work: str, arguments: Sequence[str]) -> None:
    """Train or replay the problem of a module, whose imports read the environment that is only now prepared."""
    chosen = command_line.parse(kind, arguments, f"python -m {program}")
    process_environment.prepare_ray(embedded=True)  # and BLAS, which has other bits in two threads than in one
    from bitexact.storage.run import PROPERTIES
    from bitexact.storage.run_directory import locked

    if chosen.replay:
        from examples import loop

        loop.replay(chosen.run, importlib.import_module(work).problem(chosen.seed))
        return
    interrupts = Interrupts()
    interrupts.defer(exits.at_once)
    with locked(chosen.run), interrupts.blamed():
        process_environment.prepare_driver(chosen.run / PROPERTIES, embedded=True)
        from examples import loop

        problem = importlib.import_module(work).problem(chosen.seed)
        loop.train(chosen.run, problem, chosen.updates, chosen.actors, interrupts)
