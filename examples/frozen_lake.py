"""Another game on the same pool, ledger and properties: Gymnasium's FrozenLake, learned by evolution strategies.

    python -m examples.frozen_lake runs/lake --updates 60       train; stopped or killed, the same line goes on
    python -m examples.frozen_lake runs/lake --replay           recompute it all in this process, without Ray

A walker is to cross 16 fields of slippery ice. Its table says how much it likes each of 4 moves on each field. A
rollout tries the table with noise added and with the same noise taken away; the noise is worth the difference in wins
(Salimans et al., "Evolution Strategies as a Scalable Alternative to Reinforcement Learning", 2017). What is this game's
own is in lake.py; docs/your-own-loop.md explains what is not, and loop.py has it. Exit codes: as those of driver.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bitexact.cli import exits
from examples import command


@dataclass(frozen=True)
class Arguments(command.Arguments):
    """Learn to cross a frozen lake."""


def main(arguments: Sequence[str]) -> None:
    """Train or replay."""
    command.run(Arguments, "examples.frozen_lake", "examples.lake", arguments)


if __name__ == "__main__":
    exits.run(main)
