"""The verdicts on all properties: what runs passed, failed or never reached."""

import shlex
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitexact.cli.exits import NotReached, PropertyFailed
from bitexact.reporting import catalog
from bitexact.reporting.catalog import Catalog, Property
from bitexact.reporting.observations import Observations, Seen, observe
from bitexact.storage.run import PROPERTIES

PASSED, FAILED, NEVER = "passed", "FAILED", "never reached"
_UNREACHABLE = "Unreachable"  # the kind of a property that holds for as long as its place is not reached


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


def make(runs: Sequence[Path], all_reached: bool = False) -> Report:
    """Join what is declared with what the runs' processes saw.

    Without `all_reached`, only what every run reaches must have been reached.
    """
    observations = observe(run / PROPERTIES for run in runs)
    catalogs = catalog.find()
    unknown = sorted(observations.seen.keys() - {one.claim for found in catalogs for one in found.properties})
    observations.damage += [f"not declared here, and left out: {claim}" for claim in unknown]
    verdicts = [
        _verdict(one, observations.seen.get(one.claim, Seen()), found, bool(observations.seen), all_reached)
        for found in _concerned(catalogs, observations)
        for one in found.properties
    ]
    return Report(tuple(runs), verdicts, observations)


def _concerned(catalogs: list[Catalog], observations: Observations) -> list[Catalog]:
    """Those of the systems that the runs are of: of which something was seen. The first, if nothing was."""
    concerned = [found for found in catalogs if any(one.claim in observations.seen for one in found.properties)]
    return concerned or catalogs[:1]


def _verdict(declared: Property, seen: Seen, found: Catalog, anything_seen: bool, all_reached: bool) -> Verdict:
    holds_unreached = declared.kind == _UNREACHABLE and anything_seen
    status = FAILED if seen.failure is not None else PASSED if seen.passed or holds_unreached else NEVER
    required = (all_reached and declared.kind != _UNREACHABLE) or declared.situation == "every run"
    return Verdict(declared, status, seen.failure or {}, _reproduce(seen, found.reproduced_by), required)


def _reproduce(seen: Seen, commands: Sequence[str]) -> str:
    """The first command that can be told where a property first failed."""
    if seen.failure is None or seen.failed_in is None:
        return ""
    where = {**seen.failure, "run": seen.failed_in.parent.parent}
    for command in commands:
        fields = {name for _, name, _, _ in string.Formatter().parse(command) if name}
        if fields <= where.keys():
            return command.format(**{name: shlex.quote(str(where[name])) for name in fields})
    return ""
