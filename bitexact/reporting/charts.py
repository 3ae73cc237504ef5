"""What a system chooses to show of its runs: by the keys of its ledger's lines, one line an update."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Line = dict[str, Any]
_MOST_POINTS = 5000  # of a curve
_LARGEST = 1e300


@dataclass(frozen=True)
class Curve:
    """The curve on a report's page, over wall-clock time."""

    ylabel: str
    dots: str  # key of each update's own value
    line: str  # key of the smoother one
    dots_label: str = "of the update"
    line_label: str = "of the last ones"
    spent: Mapping[str, str] = field(default_factory=dict)  # keys of what an update's time went into; what to call it

    def is_in(self, line: Line) -> bool:
        """Whether an update's line has what is drawn, as numbers that have a place in a picture."""
        return _are_numbers(line, (self.dots, self.line, "wall_time_s"))

    def spent_is_in(self, line: Line) -> bool:
        """Whether it says where its time went: lines of earlier runs do not."""
        return bool(self.spent) and _are_numbers(line, (*self.spent, "wall_time_s"))


def _are_numbers(line: Line, names: Iterable[str]) -> bool:
    values = [line.get(name) for name in names]
    return all(isinstance(value, (int, float)) and abs(value) < _LARGEST for value in values)


class Thinned:
    """Points in order; of very many every second, fourth, eighth...: a picture shows no more, and memory is bounded."""

    def __init__(self) -> None:
        self.points: list[tuple[float, ...]] = []
        self._every, self._seen = 1, 0

    def add(self, point: tuple[float, ...]) -> None:
        """Take one in, if it is its turn. What is no number of a usual size has no place in a picture."""
        if self._seen % self._every == 0 and all(abs(value) < _LARGEST for value in point):
            self.points.append(point)
        self._seen += 1
        if len(self.points) > _MOST_POINTS:
            self.points, self._every = self.points[::2], self._every * 2


@dataclass(frozen=True)
class Charts:
    """What trackers show of a system's runs, and its report's page."""

    experiment: str  # the name that runs of this system are kept under
    metrics: Mapping[str, str]  # "PAGE/NAME", as it is shown, to the key
    curve: Curve

    def scalars(self, line: Line) -> dict[str, float]:
        """What is shown of an update, by the names under which it is shown."""
        named = {name: line.get(key) for name, key in self.metrics.items()}
        return {name: float(value) for name, value in named.items() if value is not None and math.isfinite(value)}
