"""The report as a terminal shows it."""

from rich.table import Table

from bitexact.reporting.verdicts import FAILED, NEVER, PASSED, Report

_STYLES = {PASSED: "green", FAILED: "bold red", NEVER: "yellow"}


def table(report: Report) -> Table:
    """The verdicts for a terminal, in the order of the declarations."""
    rows = Table(box=None, show_header=False, padding=(0, 1))
    for verdict in report.verdicts:
        one = verdict.declared
        needs = f" [dim](reached by {one.situation}: {one.reached_by})[/]" if verdict.status == NEVER else ""
        rows.add_row(f"[{_STYLES[verdict.status]}]{verdict.status}[/]", one.kind.lower(), one.claim + needs)
    return rows
