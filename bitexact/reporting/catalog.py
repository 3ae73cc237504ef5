"""The declared properties of each system that is there.

    python -m bitexact.reporting.catalog invariants.py > docs/properties.md          a system's table (`make docs`)

A system declares its properties in an `invariants.py`, at the root or in a folder of its own. Nothing of it is executed
here: claims come from the SDK's own scanner, what reaches them from `@reached_by`, their meaning from docstrings. Where
a failed property can be seen to fail again, the file says so:

    REPRODUCED_BY = (
        "python replay.py {run} --update={update} --rollout={index}",
        "python replay.py {run} --update={update}",
    )

The first command of which the failure's details name all the fields is the one to try.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antithesis.catalog import scan_source

from bitexact.reporting import guards

_ROOT = Path(__file__).parents[2]
_FILE = "invariants.py"
_COMMANDS = "REPRODUCED_BY"


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


@dataclass(frozen=True)
class Catalog:
    """What one system declares."""

    file: str  # its invariants.py, as seen from the root
    properties: tuple[Property, ...]  # in the file's order
    reproduced_by: tuple[str, ...]  # commands with fields in braces


def find(root: Path = _ROOT) -> list[Catalog]:
    """The catalogs of all systems that are there."""
    files = [root / _FILE, *sorted(root.glob(f"*/{_FILE}"))]
    return [read(file, root) for file in files if file.exists() and _is_ours(file)]


def read(file: Path, root: Path = _ROOT) -> Catalog:
    """The catalog of one `invariants.py`. Raises ValueError for a property that does not say what reaches it."""
    source = file.read_text()
    tree = ast.parse(source)
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    entries = sorted(scan_source(source, file.name), key=lambda entry: entry.location.begin_line)
    declared = tuple(_property(entry, functions[entry.location.function]) for entry in entries)
    return Catalog(file.relative_to(root).as_posix(), declared, tuple(_commands(tree)))


def _is_ours(file: Path) -> bool:
    """Whether a file declares properties: where this is installed, other packages lie beside it."""
    return f"from {guards.__name__} import" in file.read_text(errors="replace")


def _property(entry: Any, function: ast.FunctionDef) -> Property:
    calls = [node for node in function.decorator_list if isinstance(node, ast.Call)]
    said = [node.args[0] for node in calls if ast.unparse(node.func) == guards.reached_by.__name__]
    if not said:
        raise ValueError(f"{function.name} does not say what reaches it: @{guards.reached_by.__name__} is missing")
    situation, reached_by = guards.split_reached_by(ast.literal_eval(said[0]))
    meaning = " ".join((ast.get_docstring(function) or "").split())
    line = entry.location.begin_line
    return Property(entry.message, entry.kind.value, function.name, line, situation, reached_by, meaning)


def _commands(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [_COMMANDS]:
            yield from ast.literal_eval(node.value)


def table(catalog: Catalog) -> str:
    """A system's properties as a page of Markdown."""
    rows = [
        f"| {number} | {one.claim} | {one.kind} | `{one.function}` "
        f"| {one.situation}: {one.reached_by} | {one.meaning} |"
        for number, one in enumerate(catalog.properties, start=1)
    ]
    return "\n".join([_HEADING.format(file=catalog.file), *rows, ""])


_HEADING = """# Properties

What must hold, as declared in [`{file}`](../{file}) through the Antithesis SDK. This page is made from that file by
`make docs`; a test keeps it in step. `python report.py RUN` says which of them a run passed, failed or never reached.

| | claim | kind | asserted in | reached by | why it matters |
|---|---|---|---|---|---|"""


if __name__ == "__main__":
    print(table(read(Path(sys.argv[1]).resolve())), end="")
