"""What a model sees of a state: standardised variables, actions, the clock, and where things stand in finer detail.

A place also lies in tiles: triangles of height 1 side by side, each beginning at its neighbour's middle, so that a sum
of them is any polygon through their middles. They let a small network tell one pixel from the next.
"""

from dataclasses import dataclass

import numpy as np

from world_model.states import BALL_X, BALL_Y, CLOCK, LEFT, RIGHT, SPEED_Y, WAIT, Layout

_TILES = 16  # of a place of the ball
_TILES_BETWEEN = 24  # of the ball's place beside a paddle
_REACH = 2.0  # paddle heights: further away all is one
_ACTIONS = 4  # both sides', now and a step ago


@dataclass(frozen=True)
class Constants:
    """Taken from the training split alone, and stored with the model. Each float64 [P]."""

    mean: np.ndarray
    deviation: np.ndarray
    low: np.ndarray
    high: np.ndarray
    scale: np.ndarray  # of the changes in a step


def constants_of(layout: Layout, before: np.ndarray, after: np.ndarray) -> Constants:
    """From the states before and after each step of the training split, [T, V]."""
    count = len(layout.variables)
    plays = (before[:, WAIT] == 0) & (after[:, WAIT] == 0)
    here, change = before[plays, :count], (after - before)[plays, :count]
    moves_always = np.arange(count) > SPEED_Y  # all but the ball, which has no place until it is served
    deviation = np.sqrt(((here - here.mean(axis=0)) ** 2).mean(axis=0))
    scale = np.ones(count) if layout.whole else np.sqrt((change**2).mean(axis=0))
    return Constants(
        mean=here.mean(axis=0),
        deviation=np.where(deviation > 0.0, deviation, 1.0),
        low=np.where(moves_always, after[:, :count].min(axis=0), after[plays, :count].min(axis=0)),
        high=np.where(moves_always, after[:, :count].max(axis=0), after[plays, :count].max(axis=0)),
        scale=np.where(scale > 0.0, scale, 1.0),
    )


def width(layout: Layout) -> int:
    """How many features a state has."""
    clock = layout.clock if layout.clock > 1 else 0
    return len(layout.variables) + 1 + _ACTIONS + clock + 2 * _TILES + 2 * _TILES_BETWEEN


def features(
    layout: Layout, constants: Constants, states: np.ndarray, actions: np.ndarray, previous: np.ndarray
) -> np.ndarray:
    """Of N states with their actions [N, 2] and those of the step before, float64 [N, D]."""
    count = len(layout.variables)
    plays = (states[:, WAIT] == 0).astype(np.float64)[:, None]
    parts = [(states[:, :count] - constants.mean) / constants.deviation, plays, actions, previous]
    if layout.clock > 1:
        parts.append((states[:, CLOCK, None] == np.arange(layout.clock)).astype(np.float64))
    for place in (BALL_X, BALL_Y):
        parts.append(_tiles(states[:, place], constants.low[place], constants.high[place], _TILES))
    reach = _REACH * layout.paddle_height
    for side in (LEFT, RIGHT):
        parts.append(_tiles(states[:, BALL_Y] - states[:, side], -reach, reach, _TILES_BETWEEN))
    return np.concatenate(parts, axis=1)


def _tiles(values: np.ndarray, low: float, high: float, count: int) -> np.ndarray:
    """In which tiles the values lie, and how near to each one's middle: [N, count], each row's sum is 1."""
    place = np.minimum(np.maximum((values - low) / (high - low), 0.0), 1.0) * (count - 1)
    return np.maximum(0.0, 1.0 - np.abs(place[:, None] - np.arange(count)))
