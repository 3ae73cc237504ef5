"""A command's settings from a JSON file: {"updates": 12000, "model_type": "rnn"}.

They are put before the words of the command line as the flags that they are, so that one parser judges both, and what
the command line says itself wins.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput
from world_model import files

_NOT_IN_A_FILE = ("config", "resume")


def expanded(kind: type, arguments: Sequence[str]) -> list[str]:
    """The arguments, with what the file of their --config says before them. Raises BadInput, naming the file."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    parser.add_argument("--config", nargs="?")
    named = parser.parse_known_args(list(arguments))[0].config
    return [*(_flags(kind, Path(named)) if named else ()), *arguments]


def _flags(kind: Any, path: Path) -> Iterator[str]:
    known = {field.name for field in dataclasses.fields(kind)} - set(_NOT_IN_A_FILE)
    for name, value in files.read_json(path).items():
        if name not in known:
            raise BadInput(f"{path} has the setting {name!r}, which there is none of: {', '.join(sorted(known))}.")
        if value is None or value is False:
            continue
        if not isinstance(value, (str, int, float)):
            raise BadInput(f"{path}: {name} is a number or a text, not {type(value).__name__}.")
        flag = f"--{name.replace('_', '-')}"
        yield flag if value is True else f"{flag}={value}"
