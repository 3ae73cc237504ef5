"""JSON that may come from anywhere: parsed, or refused with a ValueError, whatever it is."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_LARGEST_FILE = 1 << 24
LONGEST_LINE = 1 << 20  # bytes; a longer one is damage, and is passed over without being held


def parse(text: bytes) -> Any:
    """What a JSON text says. Raises ValueError: also for what is nested too deep, or cannot be written out again."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if b"\\ud" in text.lower():  # half a character, that no terminal or file would take
        json.dumps(value, ensure_ascii=False).encode()
    return value


def parse_file(path: Path) -> Any:
    """What a JSON file says. Raises OSError if it cannot be read, ValueError if that cannot be used."""
    with path.open("rb") as file:
        text = file.read(_LARGEST_FILE + 1)
    if len(text) > _LARGEST_FILE:
        raise ValueError(f"it is larger than {_LARGEST_FILE >> 20} MB")
    return parse(text)


def lines(path: Path) -> Iterator[bytes]:
    """A file's lines, a last one without an end included; one that is too long as an empty one. Raises OSError."""
    with path.open("rb") as file:
        while text := file.readline(LONGEST_LINE):
            is_too_long = len(text) == LONGEST_LINE and not text.endswith(b"\n")
            yield b"" if is_too_long else text
            while is_too_long and (text := file.readline(LONGEST_LINE)):
                is_too_long = not text.endswith(b"\n")
