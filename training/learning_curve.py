"""A run's learning curve, read from its ledger: the mean reward over time, games and steps."""

from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitexact.cli.exits import BadInput
from bitexact.storage.ledger import METRICS
from bitexact.storage.run import Run

_COLUMNS = ("reward_mean_100", "wall_time_s", "rollouts", "steps")


@dataclass(frozen=True)
class Curve:
    """One run: the reward after each update, and how much it had cost by then."""

    reward: np.ndarray  # float64 [updates], mean of the last 100 rollouts
    minutes: np.ndarray
    games: np.ndarray
    steps: np.ndarray  # in thousands


def read(path: Path) -> Curve:
    """A run's curve: four numbers of each of its lines. Raises BadInput."""
    columns = {name: array("d") for name in _COLUMNS}
    for line in Run.open(path).ledger.lines(METRICS):
        for name, values in columns.items():
            values.append(_number(path, line, name))
    reward, seconds, games, steps = (np.array(columns[name]) for name in _COLUMNS)
    if not len(reward):
        raise BadInput(f"{path} has no committed update yet: there is nothing to draw.")
    return Curve(reward, seconds / 60, np.cumsum(games), np.cumsum(steps) / 1000)


def _number(path: Path, line: dict[str, object], name: str) -> float:
    value = line.get(name)
    if not isinstance(value, (int, float)) or not abs(value) < 1e300:
        where = f"{path / METRICS} has a line of update {line['update']}"
        raise BadInput(f"{where} without a number {name}: restore it.")
    return float(value)
