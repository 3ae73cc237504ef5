"""How long calls of functions take, in the running program: functions are replaced by ones that are timed.

watch = Stopwatch()
with watch.on(policy, "gradient"), watch.on(game, "advance"):
    ...
watch.seconds["gradient"]
"""

import functools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_CALLS_TO_CALIBRATE = 100_000


class Stopwatch:
    """Seconds by name, less what the timing itself adds to them."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = defaultdict(float)
        self.calls: Counter[str] = Counter()

    @property
    def seconds(self) -> dict[str, float]:
        """By name: the time between call and return."""
        inside_s, _ = _own_cost_s()
        return {name: total - inside_s * self.calls[name] for name, total in self._seconds.items()}

    @property
    def added_s(self) -> float:
        """What the timing of all calls adds to a time that they are within, beside `seconds`."""
        return _own_cost_s()[1] * self.calls.total()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, timed. A name may stand for several: their times are added."""
        seconds, calls, clock = self._seconds, self.calls, time.perf_counter

        def call(*args: Any, **kwargs: Any) -> Any:
            began = clock()
            try:
                return function(*args, **kwargs)
            finally:
                seconds[name] += clock() - began
                calls[name] += 1

        return call

    @contextmanager
    def on(self, owner: Any, attribute: str, name: str = "") -> Iterator[None]:
        """Time an attribute of a module, class or object while the block runs."""
        own = attribute in vars(owner)
        function = getattr(owner, attribute)
        setattr(owner, attribute, self.timed(name or attribute, function))
        try:
            yield
        finally:
            if own:
                setattr(owner, attribute, function)
            else:
                delattr(owner, attribute)


@functools.cache
def _own_cost_s() -> tuple[float, float]:
    """What a timed function that does nothing is said to take, and what it takes beyond the function alone."""
    watch, function = Stopwatch(), lambda: None
    nothing = watch.timed("nothing", function)
    whole_s = _time_of_calls_s(nothing) - _time_of_calls_s(function)
    return watch._seconds["nothing"] / _CALLS_TO_CALIBRATE, whole_s / _CALLS_TO_CALIBRATE


def _time_of_calls_s(function: Callable[[], None]) -> float:
    began = time.perf_counter()
    for _ in range(_CALLS_TO_CALIBRATE):
        function()
    return time.perf_counter() - began
