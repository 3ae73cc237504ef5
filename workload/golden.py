"""Make the file of golden digests: the first updates of every scenario, computed by one process without Ray.

    python -m workload.golden golden.json                    some minutes: when an image is built
    RAY_PONG_GOLDEN=golden.json python driver.py ...         then each update that is in it is compared

No fault can touch what was computed before there was any: a digest that differs is a bug of the trainer, whatever
happened meanwhile.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput
from bitexact.storage import durable
from pong.game import Pong
from training import golden
from training.settings import Settings, of_preset
from workload.scenario import BATCH_SIZES, PRESETS, SEEDS


@dataclass(frozen=True)
class Arguments:
    """Make the file of golden digests."""

    file: Annotated[Path, tyro.conf.Positional]
    """Where to write it."""
    updates: int = 12
    """Of each scenario."""

    def check(self) -> None:
        """Raise BadInput for values that cannot be used."""
        if self.updates < 1:
            raise BadInput(f"--updates must be a whole number from 1, not {self.updates}.")


def scenarios() -> Iterator[Settings]:
    """All runs that a timeline may draw, as far as their settings decide the result."""
    for preset, seed, batch_size in itertools.product(PRESETS, SEEDS, BATCH_SIZES):
        yield of_preset(preset, **PRESETS[preset], seed=seed, batch_size=batch_size)


def main(arguments: Sequence[str]) -> None:
    """Compute, and write."""
    chosen = command_line.parse(Arguments, arguments, "python -m workload.golden")
    chosen.check()
    game = Pong()
    known = {golden.name_of(one): golden.compute(one, chosen.updates, game) for one in scenarios()}
    durable.write_atomically(chosen.file, json.dumps(known, indent=1).encode() + b"\n")
    print(f"{chosen.file}: the first {chosen.updates} updates of {len(known)} scenarios")


if __name__ == "__main__":
    exits.run(main)
