"""The naive loop, mended: the same game, network and step as `naive_pong.py`, and nothing that fails is lost.

    python -m examples.mended_pong runs/mended --updates 5      train; stopped or killed, the same line goes on
    python -m examples.mended_pong runs/mended --replay         recompute it all in this process, without Ray

What had to change is in mended.py, some sixty lines; docs/naive-loop.md says which fault each of them is for. Exit
codes: as those of driver.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from bitexact.cli import exits
from examples import command


@dataclass(frozen=True)
class Arguments(command.Arguments):
    """Learn Pong, the naive loop's way, whatever fails."""


def main(arguments: Sequence[str]) -> None:
    """Train or replay."""
    command.run(Arguments, "examples.mended_pong", "examples.mended", arguments)


if __name__ == "__main__":
    exits.run(main)
