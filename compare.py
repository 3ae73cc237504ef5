"""Compare two runs, update by update, by the digests in their ledgers.

    python compare.py runs/a runs/b

Says that the updates both have are equal to the bit, or names the first update, rollout and array that differ. Runs of
different length are compared as far as the shorter one goes. Exit codes: 0 equal, 1 different, 2 bad input;
others as every command's (bitexact/cli/exits.py, and --help).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput
from bitexact.storage import comparison
from bitexact.storage.run import Run
from training.settings import DECIDE_THE_RESULT


@dataclass(frozen=True)
class Arguments:
    """Compare two runs by the digests in their ledgers."""

    run_a: Annotated[Path, tyro.conf.Positional]
    """A run directory."""
    run_b: Annotated[Path, tyro.conf.Positional]
    """Another."""


def main(arguments: Sequence[str]) -> None:
    """Compare and print the verdict. Raises Differs."""
    chosen = command_line.parse(Arguments, arguments, "python compare.py")
    a, b = Run.open(chosen.run_a), Run.open(chosen.run_b)
    agreed = comparison.compare(a, b, DECIDE_THE_RESULT, print)
    if agreed is None:
        raise BadInput(f"{chosen.run_a} and {chosen.run_b} have no update in common: there is nothing to compare.")
    print(f"equal: {agreed.updates} updates, up to update {agreed.last}, weights digest {agreed.digest}")


if __name__ == "__main__":
    exits.run(main)
