"""Which properties runs passed, failed or never reached.

    python report.py RUN...                        a table
    python report.py RUN... --html report.html     and a page of its own: properties, learning curve, faults, settings
    python report.py RUN... --all-reached          ask for every property, also those that only faults reach

Joins what all processes of the runs saw; a run in progress may be looked at. What must have been reached depends on the
run: without --all-reached, only what every run reaches. Exit codes: 0 as it must be, 1 a property failed, 2 bad input,
5 a property that must be reached was not; others as every command's (bitexact/cli/exits.py, and --help).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput
from bitexact.reporting import verdicts
from bitexact.reporting.terminal import table
from bitexact.reporting.verdicts import FAILED
from bitexact.storage import config
from training.charts import CHARTS


@dataclass(frozen=True)
class Arguments:
    """Which properties runs passed, failed or never reached."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...")]
    """Run directories; what their processes saw is joined."""
    html: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the report as a page of its own, too."""
    all_reached: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Ask for every property to be reached, also by what only faults, a resume or an evaluation bring about."""

    def check(self) -> None:
        """Raise BadInput for what is no run, and for a page that has no place."""
        if not self.runs:
            raise BadInput("name a run directory to report on, or several.")
        for run in self.runs:
            config.read(run)
        command_line.expect_a_folder(html=self.html)


def main(arguments: Sequence[str]) -> None:
    """Print the report, and write its page where asked to."""
    chosen = command_line.parse(Arguments, arguments, "python report.py")
    chosen.check()
    report = verdicts.make(chosen.runs, chosen.all_reached)
    for sentence in report.observations.damage:
        print(sentence)
    Console().print(table(report))
    for verdict in report.verdicts:
        if verdict.status == FAILED:
            print(f"FAILED: {verdict.declared.claim}\n  first: {verdict.details}")
            if verdict.reproduce:
                print(f"  reproduce: {verdict.reproduce}")
    print(report.summary())
    if chosen.html:
        from bitexact.reporting import page  # only now: it draws, which takes a second to load

        page.write(report, chosen.html, CHARTS.curve)
        print(f"page: {chosen.html}")
    report.raise_for_status()


if __name__ == "__main__":
    exits.run(main)
