"""Another game on the same pool, ledger and properties: Gymnasium's FrozenLake, learned by evolution strategies.

    python -m examples.frozen_lake runs/lake --updates 60       train; stopped or killed, the same line goes on
    python -m examples.frozen_lake runs/lake --replay           recompute it all in this process, without Ray

A walker is to cross 16 fields of slippery ice. Its table says how much it likes each of 4 moves on each field. A
rollout tries the table with noise added and with the same noise taken away; the noise is worth the difference in wins
(Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", 2017). What is this game's
own is in lake.py; docs/your-own-loop.md explains what is not. Exit codes: as those of driver.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line, exits, process_environment
from bitexact.cli.interrupts import Interrupts
from bitexact.storage.run import PROPERTIES
from bitexact.storage.run_directory import locked


@dataclass(frozen=True)
class Arguments:
    """Learn to cross a frozen lake."""

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


def main(arguments: Sequence[str]) -> None:
    """Train or replay."""
    chosen = command_line.parse(Arguments, arguments, "python -m examples.frozen_lake")
    if chosen.replay:
        from examples import lake

        lake.replay(chosen.run, chosen.seed)
        return
    interrupts = Interrupts()
    interrupts.defer(exits.at_once)
    with locked(chosen.run), interrupts.blamed():
        process_environment.prepare_driver(chosen.run / PROPERTIES, embedded=True)
        from examples import lake  # with Ray and the SDK, which read the environment that has only now been prepared

        lake.train(chosen.run, chosen.seed, chosen.updates, chosen.actors, interrupts)


if __name__ == "__main__":
    exits.run(main)
