"""Which values a setting may have: a range stands with its field, and one function holds every field to its own.

    @dataclass(frozen=True)
    class Settings:
        epochs: Annotated[int, whole(1, 100_000)] = 4

    check_values(Settings(epochs=0))    # BadInput: --epochs must be a whole number from 1 to 100000, not 0.

Values come from command lines, where a parser has seen to their types, and from JSON, where nobody has.
"""

import math
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

from bitexact.cli.exits import BadInput


@dataclass(frozen=True)
class Range:
    """Numbers from `least` to `most`, both included, and how a sentence calls them."""

    kinds: tuple[type, ...]
    least: float
    most: float
    words: str

    def __contains__(self, value: object) -> bool:
        is_number = isinstance(value, self.kinds) and not isinstance(value, bool)
        return is_number and self.least <= value <= self.most  # type: ignore[operator]


def whole(least: int, most: float = math.inf, words: str = "") -> Range:
    """Whole numbers, by default without an upper end."""
    to = "" if most == math.inf else f" to {most}"
    return Range((int,), least, most, words or f"a whole number from {least}{to}")


def real(least: float, most: float, words: str = "") -> Range:
    """Numbers of which none is infinite, and none is NaN."""
    return Range((int, float), least, most, words or f"a number from {least:g} to {most:g}")


POSITIVE = real(math.ulp(0.0), sys.float_info.max, "a finite number above 0")


def check_values(settings: Any) -> None:
    """Raise BadInput for the first field of a dataclass whose value its type and its range do not allow."""
    for name, hint in get_type_hints(type(settings), include_extras=True).items():
        value, wanted = getattr(settings, name), _wanted(hint, getattr(settings, name))
        if wanted:
            raise BadInput(f"{flag_of(name)} must be {wanted}, not {value}.")


def flag_of(name: str) -> str:
    """How a command line calls a field."""
    return f"--{name.replace('_', '-')}"


def _wanted(hint: Any, value: object) -> str:
    """What a value must be; nothing if it is that."""
    base, extras = (hint.__origin__, hint.__metadata__) if hasattr(hint, "__metadata__") else (hint, ())
    if value is None and type(None) in get_args(base):
        return ""
    for extra in extras:
        if isinstance(extra, Range):
            return "" if value in extra else extra.words
    if get_origin(base) is Literal:
        return "" if value in get_args(base) else " or ".join(get_args(base))
    if base is bool:
        return "" if isinstance(value, bool) else "true or false"
    return "" if isinstance(value, base) else "text"
