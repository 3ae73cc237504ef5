"""What a system's `invariants.py` marks its properties with.

    @guard
    @reached_by("every run: each update")
    def weights_are_finite(weights: Arrays, where: Where) -> bool:
        \"\"\"The weights have not diverged to NaN or infinity.\"\"\"
        holds = ...
        always(holds, "The weights are finite", where)
        return holds

The message stands in the call as a literal, since the catalog's scanner reads nothing else.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from bitexact.cli.exits import PropertyFailed

# What kind of run reaches a property.
SITUATIONS = ("every run", "a preset", "a resume", "an evaluation", "faults", "a test command", "a bug")

Where = Mapping[str, Any]  # which update, rollout, ... it was: the last argument of each property's function
_Arguments = ParamSpec("_Arguments")
_Property = TypeVar("_Property", bound=Callable[..., Any])


def guard(holds: Callable[_Arguments, bool]) -> Callable[_Arguments, None]:
    """Raise PropertyFailed when a property, named by its function, does not hold: nothing is committed on top of it."""

    @functools.wraps(holds)
    def check(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> None:
        if not holds(*args, **kwargs):
            details: Any = kwargs["where"] if "where" in kwargs else args[-1]
            where = ", ".join(f"{name} {value}" for name, value in details.items())
            raise PropertyFailed(f"property failed: {holds.__name__.replace('_', ' ')} ({where})")

    return check


def reached_by(what: str) -> Callable[[_Property], _Property]:
    """Say what reaches a property, "SITUATION: WHAT IN IT", for the report and the table of properties.

    Raises ValueError if it says no situation that is known.
    """
    split_reached_by(what)
    return lambda holds: holds


def split_reached_by(what: str) -> tuple[str, str]:
    """The situation that reaches a property, and what in it does. Raises ValueError."""
    situation, colon, detail = what.partition(": ")
    if situation not in SITUATIONS or not colon or not detail.strip():
        raise ValueError(f'"{what}" does not say what reaches it: "SITUATION: WHAT", {", ".join(SITUATIONS)}')
    return situation, detail
