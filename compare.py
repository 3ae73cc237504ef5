"""Compare two runs, update by update, by the digests in their ledgers.

    python compare.py runs/a runs/b

Says that the updates both have are equal to the bit, or names the first update, rollout and array that differ. Runs of
different length are compared as far as the shorter one goes. Exit codes: 0 equal, 1 different, 2 bad input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput, Differs
from bitexact.determinism import versions
from bitexact.storage import config
from bitexact.storage.ledger import Entry, Ledger, Line, first_difference
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
    a, b = (_read(directory) for directory in (chosen.run_a, chosen.run_b))
    both = sorted(a.updates.keys() & b.updates.keys())
    if not both:
        raise BadInput(f"{chosen.run_a} and {chosen.run_b} have no update in common: there is nothing to compare.")
    for update in both:
        difference = first_difference(*_comparable(a.entry(update), b.entry(update)))
        if difference:
            raise Differs(f"update {update} differs: {difference}.{_explanation(chosen.run_a, chosen.run_b)}")
    print(f"equal: {len(both)} updates, up to update {both[-1]}, weights digest {a.digest(both[-1])}")


def _read(directory: Path) -> Ledger:
    config.read(directory)
    ledger = Ledger(directory)
    for sentence in ledger.damage:
        print(sentence)
    return ledger


def _comparable(*entries: Entry) -> list[Entry]:
    """An update's entries without the rollouts that one of them has lost the lines of: no line is no difference."""
    lost = {index for one in entries for index in range(one.update.get("rollouts", 0)) if index not in one.rollouts}
    kept = [{index: line for index, line in one.rollouts.items() if index not in lost} for one in entries]
    return [Entry(one.update, rollouts) for one, rollouts in zip(entries, kept, strict=True)]


def _explanation(a: Path, b: Path) -> str:
    """What decides the result and is not the same: then equal digests were not to be expected."""
    configs = [config.read(directory) for directory in (a, b)]
    settings: list[Line] = [config["settings"] for config in configs]
    names = [name for name in settings[0] if settings[0][name] != settings[1].get(name)]
    told = ", ".join(
        f"{name} {settings[0][name]} and {settings[1].get(name)}" for name in names if name in DECIDE_THE_RESULT
    )
    began_otherwise = not told and configs[0]["initial_digest"] != configs[1]["initial_digest"]
    packages = versions.differences(configs[0]["versions"], configs[1]["versions"])
    return (
        (f" Their settings differ: {told}." if told else "")
        + (" They began with other weights." if began_otherwise else "")
        + (f" Their package versions differ: {packages}." if packages else "")
    )


if __name__ == "__main__":
    exits.run(main)
