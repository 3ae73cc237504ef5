"""The declared properties, and what runs saw of them.

    python -m bitexact.reporting.properties > docs/properties.md          the table of all properties (`make docs`)

Declarations come from the SDK's own scanner over `invariants.py`, their meaning from that file's docstrings. What was
seen comes from the files that the SDK wrote: the first pass and the first failure of each property in each process.
"""

import ast
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from antithesis.catalog import scan_source

_INVARIANTS = Path(__file__).parents[2] / "invariants.py"
_NEEDED = ("message", "assert_type", "condition", "hit")  # of what the SDK writes of an assertion
_REACHED_BY = re.compile(
    r"\s*Reached by (every run|a preset|a resume|an evaluation|faults|a test command): (.*?)\.\s*$", re.DOTALL
)


@dataclass(frozen=True)
class Property:
    """One declared property."""

    claim: str  # its message
    kind: str  # as the SDK shows it: Always, Sometimes, Reachable, ...
    function: str
    line: int
    situation: str  # what kind of run reaches it
    reached_by: str
    meaning: str


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

    def of(self, declared: Property) -> Seen:
        """What was seen of a property; nothing, if it was not reached."""
        return self.seen.get(declared.claim, Seen())


def declared() -> list[Property]:
    """All properties of `invariants.py`, in its order."""
    source = _INVARIANTS.read_text()
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    documents = {node.name: ast.get_docstring(node) or "" for node in functions}
    entries = scan_source(source, _INVARIANTS.name)
    return [
        _property(entry, documents[entry.location.function])
        for entry in sorted(entries, key=lambda entry: entry.location.begin_line)
    ]


def observe(folders: Iterable[Path]) -> Observations:
    """Join what the SDK wrote in the given folders. Torn or damaged lines are left out and named."""
    observations = Observations()
    for path in sorted(path for folder in folders for path in folder.glob("*.jsonl")):
        observations.files += 1
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            try:
                hit = json.loads(line).get("antithesis_assert", dict.fromkeys(_NEEDED))
                _ = [hit[name] for name in _NEEDED]  # all must be there
            except (ValueError, AttributeError, KeyError, TypeError):
                observations.damage.append(f"{path} line {number} is damaged and is not used")
                continue
            if hit["hit"]:
                _note(observations.seen.setdefault(hit["message"], Seen()), hit, path)
    return observations


def _note(seen: Seen, hit: dict[str, Any], path: Path) -> None:
    """Take in one hit. A `sometimes` that was reached with a false condition neither failed nor passed."""
    if hit["condition"]:
        seen.passed = True
    elif hit["assert_type"] != "sometimes" and seen.failure is None:
        seen.failure, seen.failed_in = hit.get("details") or {}, path


def _property(entry: Any, document: str) -> Property:
    reached = _REACHED_BY.search(document)
    if not reached:
        raise ValueError(f"{entry.location.function} does not say what reaches it")
    return Property(
        claim=entry.message,
        kind=entry.kind.value,
        function=entry.location.function,
        line=entry.location.begin_line,
        situation=reached[1],
        reached_by=" ".join(reached[2].split()),
        meaning=" ".join(document[: reached.start()].split()),
    )


def table() -> str:
    """docs/properties.md."""
    rows = [
        f"| {number} | {one.claim} | {one.kind} | `{one.function}` "
        f"| {one.situation}: {one.reached_by} | {one.meaning} |"
        for number, one in enumerate(declared(), start=1)
    ]
    return "\n".join([_HEADING, *rows, ""])


_HEADING = """# Properties

What must hold while Ray Pong trains, as declared in [`invariants.py`](../invariants.py) through the Antithesis SDK.
This page is made from that file by `make docs`; a test keeps it in step. `python report.py RUN` says which of them a
run passed, failed or never reached.

| | claim | kind | asserted in | reached by | why it matters |
|---|---|---|---|---|---|"""


if __name__ == "__main__":
    print(table(), end="")
