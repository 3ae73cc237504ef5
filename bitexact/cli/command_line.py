"""Command lines from dataclasses, with every complaint in one sentence."""

import contextlib
import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import tyro

from bitexact.cli.exits import CODES, BadInput

_Arguments = TypeVar("_Arguments")


def parse(
    kind: type[_Arguments], arguments: Sequence[str], program: str, defaults: _Arguments | None = None
) -> _Arguments:
    """The arguments as an object of a dataclass, whose texts are the help. Raises BadInput."""
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed: _Arguments = tyro.cli(  # type: ignore[assignment]
                kind, args=list(arguments), default=defaults, prog=program, description=f"{kind.__doc__}\n\n{CODES}"
            )
            return parsed
    except SystemExit as stop:
        if not stop.code:  # --help
            raise
        raise BadInput(f"{_sentence(complaint.getvalue())} See {program} --help.") from None


def expect_a_folder(**files: Path | None) -> None:
    """Raise BadInput for a file to be written, named by its flag, in no folder: before the work for it is done."""
    for flag, path in files.items():
        if path and (path.is_dir() or not path.parent.is_dir()):
            name = flag.replace("_", "-")
            raise BadInput(f"{path} cannot be written: --{name} names a file in a folder that is there.")


def _sentence(box: str) -> str:
    """The message in tyro's box of several lines, as one sentence: what stands between its title and the next gap."""
    rows = [row.strip("│ ") for row in box.splitlines()]
    body = itertools.dropwhile(_is_rule, rows[1:])  # where lines cannot be drawn, a rule follows the title
    return " ".join(itertools.takewhile(lambda row: row and not _is_rule(row), body)).rstrip(".") + "."


def _is_rule(row: str) -> bool:
    return row.startswith(("───", "---"))
