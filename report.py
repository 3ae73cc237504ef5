"""Which properties runs passed, failed or never reached.

    python report.py RUN...                        a table
    python report.py RUN... --html report.html     and a page of its own: properties, learning curve, faults, settings
    python report.py RUN... --all-reached          ask for every property, also those that only faults reach

Joins what all processes of the runs saw; a run in progress may be looked at. What must have been reached depends on the
run: without --all-reached, only what every run reaches. Exit codes: 0 as it must be, 1 a property failed, 2 bad input,
5 a property that must be reached was not.
"""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput, NotReached, PropertyFailed
from bitexact.reporting import properties
from bitexact.reporting.properties import Observations, Property, Seen
from bitexact.storage import config
from bitexact.storage.run_directory import PROPERTIES

PASSED, FAILED, NEVER = "passed", "FAILED", "never reached"
_STYLES = {PASSED: "green", FAILED: "bold red", NEVER: "yellow"}


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


@dataclass(frozen=True)
class Verdict:
    """What became of one property."""

    declared: Property
    status: str
    details: dict[str, Any]  # of the first failure
    reproduce: str  # the command that does, for a failure that names where it was
    required: bool  # whether it must have been reached


@dataclass(frozen=True)
class Report:
    """The verdicts on all properties."""

    runs: tuple[Path, ...]
    verdicts: list[Verdict]
    observations: Observations

    def count(self, status: str) -> int:
        """How many properties have a status."""
        return sum(verdict.status == status for verdict in self.verdicts)

    def summary(self) -> str:
        """One line for the end of a run."""
        files = self.observations.files
        return (
            f"properties: {self.count(PASSED)} passed, {self.count(FAILED)} failed, "
            f"{self.count(NEVER)} never reached ({files} process{'es' if files != 1 else ''})"
        )

    def raise_for_status(self) -> None:
        """Raise PropertyFailed or NotReached unless all is as it must be."""
        failed = [verdict.declared.claim for verdict in self.verdicts if verdict.status == FAILED]
        if failed:
            raise PropertyFailed(f"{len(failed)} of the properties failed, first: {failed[0]}.")
        missing = [one.declared.claim for one in self.verdicts if one.status == NEVER and one.required]
        if missing:
            raise NotReached(f"{len(missing)} of the properties were never reached, first: {missing[0]}.")


def main(arguments: Sequence[str]) -> None:
    """Print the report, and write its page where asked to."""
    chosen = command_line.parse(Arguments, arguments, "python report.py")
    chosen.check()
    report = make(chosen.runs, chosen.all_reached)
    for sentence in report.observations.damage:
        print(sentence, file=sys.stderr)
    Console().print(table(report))
    for verdict in report.verdicts:
        if verdict.status == FAILED:
            print(f"FAILED: {verdict.declared.claim}\n  first: {verdict.details}")
            if verdict.reproduce:
                print(f"  reproduce: {verdict.reproduce}")
    print(report.summary())
    if chosen.html:
        from bitexact.reporting import report_page  # only now: it draws, which takes a second to load

        report_page.write(report, chosen.html)
        print(f"page: {chosen.html}")
    report.raise_for_status()


def make(runs: Sequence[Path], all_reached: bool = False) -> Report:
    """Join the declared properties with what the runs' processes saw."""
    observations = properties.observe(run / PROPERTIES for run in runs)
    declared = properties.declared()
    unknown = sorted(observations.seen.keys() - {one.claim for one in declared})
    observations.damage += [f"not declared here, and left out: {claim}" for claim in unknown]
    verdicts = [_verdict(one, observations, all_reached) for one in declared]
    return Report(tuple(runs), verdicts, observations)


def _verdict(declared: Property, observations: Observations, all_reached: bool) -> Verdict:
    seen = observations.of(declared)
    status = FAILED if seen.failure is not None else PASSED if seen.passed else NEVER
    required = all_reached or declared.situation == "every run"
    return Verdict(declared, status, seen.failure or {}, _reproduce(seen), required)


def _reproduce(seen: Seen) -> str:
    """The replay of the update or rollout at which a property first failed, if it says where."""
    if not seen.failed_in or "update" not in (seen.failure or {}):
        return ""
    run, where = seen.failed_in.parent.parent, seen.failure or {}
    command = ["python", "replay.py", str(run), f"--update={where['update']}"]
    return shlex.join(command + ([f"--rollout={where['index']}"] if "index" in where else []))


def table(report: Report) -> Table:
    """The verdicts for a terminal, in the order of the declarations."""
    rows = Table(box=None, show_header=False, padding=(0, 1))
    for verdict in report.verdicts:
        one = verdict.declared
        needs = f" [dim](reached by {one.situation}: {one.reached_by})[/]" if verdict.status == NEVER else ""
        rows.add_row(f"[{_STYLES[verdict.status]}]{verdict.status}[/]", one.kind.lower(), one.claim + needs)
    return rows


if __name__ == "__main__":
    exits.run(main)
