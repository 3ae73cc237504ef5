"""The verdicts on all properties: what runs passed, failed or never reached."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitexact.cli.exits import NotReached, PropertyFailed
from bitexact.reporting import properties
from bitexact.reporting.properties import Observations, Property, Seen
from bitexact.storage.run_directory import PROPERTIES

PASSED, FAILED, NEVER = "passed", "FAILED", "never reached"


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
