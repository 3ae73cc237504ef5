"""What runs saw of their properties: the files that the SDK wrote, one for each process, joined.

A file holds the first pass and the first failure of each property in its process.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bitexact.cli.properties_file import INCOMPLETE
from bitexact.storage import untrusted

_MOST_NAMED = 1000  # damaged lines
_NEEDED = {"message": str, "assert_type": str, "condition": bool, "hit": bool}  # of what the SDK writes of an assertion


@dataclass
class Seen:
    """What the processes of some runs saw of one property."""

    passed: bool = False
    failure: dict[str, Any] | None = None  # details of the first failure
    failed_in: Path | None = None  # the file that it stands in


@dataclass
class Observations:
    """What all processes saw, by claim."""

    seen: dict[str, Seen] = field(default_factory=dict)
    files: int = 0
    damage: list[str] = field(default_factory=list)


def observe(folders: Iterable[Path]) -> Observations:
    """Join what the SDK wrote in the given folders. Torn or damaged lines are left out and named."""
    observations = Observations()
    for path in sorted(path for folder in folders for path in folder.glob("*.jsonl")):
        observations.files += 1
        if path.name.endswith(INCOMPLETE):
            observations.damage.append(f"{path} lacks some of what its process saw: its disk refused it")
        try:
            _observe_one(observations, path)
        except OSError as error:
            observations.damage.append(f"{path} cannot be read ({error.strerror})")
    return observations


def _observe_one(observations: Observations, path: Path) -> None:
    for number, line in enumerate(untrusted.lines(path), start=1):
        try:
            hit = _assertion(untrusted.parse(line))
        except ValueError:
            if len(observations.damage) < _MOST_NAMED:
                observations.damage.append(f"{path} line {number} is damaged and is not used")
            continue
        if hit and hit["hit"]:
            _note(observations.seen.setdefault(hit["message"], Seen()), hit, path)


def _assertion(line: Any) -> dict[str, Any] | None:
    """What a line says of an assertion; None if it is about something else. Raises ValueError."""
    if not isinstance(line, dict):
        raise ValueError("no object")
    if "antithesis_assert" not in line:
        return None
    hit = line["antithesis_assert"]
    if not isinstance(hit, dict) or not all(isinstance(hit.get(name), kind) for name, kind in _NEEDED.items()):
        raise ValueError("no assertion")
    return hit


def _note(seen: Seen, hit: dict[str, Any], path: Path) -> None:
    """Take in one hit. A `sometimes` that was reached with a false condition neither failed nor passed."""
    if hit["condition"]:
        seen.passed = True
    elif hit["assert_type"] != "sometimes" and seen.failure is None:
        details = hit.get("details")
        seen.failure, seen.failed_in = details if isinstance(details, dict) else {}, path
