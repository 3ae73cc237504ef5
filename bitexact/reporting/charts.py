"""What a system chooses to show of its runs: by the keys of its ledger's lines, one line an update."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Line = dict[str, Any]


@dataclass(frozen=True)
class Curve:
    """The curve on a report's page, over wall-clock time."""

    ylabel: str
    dots: str  # key of each update's own value
    line: str  # key of the smoother one
    dots_label: str = "of the update"
    line_label: str = "of the last ones"

    def is_in(self, line: Line) -> bool:
        """Whether an update's line has what is drawn."""
        return {self.dots, self.line, "wall_time_s"} <= line.keys()


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
