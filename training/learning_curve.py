"""A run's learning curve, read from its ledger: the mean reward over time, games and steps; where time went."""

import math
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from bitexact.cli.exits import BadInput
from bitexact.storage.ledger import METRICS
from bitexact.storage.run import Run
from training.pace import COMMIT, IDLE, LEARN

_COLUMNS = ("reward_mean_100", "wall_time_s", "rollouts", "steps")
_SPENT = (LEARN, IDLE, COMMIT)  # what is left of an update's time, it plays


@dataclass(frozen=True)
class Curve:
    """One run: the reward after each update, and how much it had cost by then."""

    reward: np.ndarray  # float64 [updates], mean of the last 100 rollouts
    minutes: np.ndarray
    games: np.ndarray
    steps: np.ndarray  # in thousands
    learning: np.ndarray  # the part of the update's time that it learned; not a number where the line does not say
    idle: np.ndarray  # likewise, in which an actor had nothing to play
    writing: np.ndarray  # likewise


def read(path: Path) -> Curve:
    """A run's curve: four numbers of each of its lines. Raises BadInput."""
    columns = {name: array("d") for name in (*_COLUMNS, *_SPENT)}
    for line in Run.open(path).ledger.lines(METRICS):
        for name in _COLUMNS:
            columns[name].append(_number(path, line, name))
        for name in _SPENT:
            columns[name].append(_part(line, name))
    reward, seconds, games, steps, *parts = (np.array(values) for values in columns.values())
    if not len(reward):
        raise BadInput(f"{path} has no committed update yet: there is nothing to draw.")
    return Curve(reward, seconds / 60, np.cumsum(games), np.cumsum(steps) / 1000, *parts)


def _number(path: Path, line: dict[str, Any], name: str) -> float:
    value = line.get(name)
    if not _is_number(value):
        where = f"{path / METRICS} has a line of update {line['update']}"
        raise BadInput(f"{where} without a number {name}: restore it.")
    return float(value)


def _part(line: dict[str, Any], name: str) -> float:
    """How much of an update's time went into something; not a number where its line does not say, as earlier ones."""
    numbers = line.get(name), line.get("steps"), line.get("steps_per_s")
    if not all(map(_is_number, numbers)) or not line["steps"]:
        return math.nan
    return float(line[name] * line["steps_per_s"] / line["steps"])


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and abs(value) < 1e300
