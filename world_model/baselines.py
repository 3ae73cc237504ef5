"""Predictors that know no network: what a model's figures are read beside. Each is a `measure.Predictor`.

The paddles are those of the states after, which are true: a baseline is of the ball alone.
"""

import numpy as np

from world_model.measure import Predictor
from world_model.states import BALL_X, BALL_Y, EVENTS, SPEED_X, SPEED_Y, WALL
from world_model.table import Table, TableSettings


def nothing_changes(warm: np.ndarray, actions: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ball stays where it is."""
    return _of_ball(true, np.broadcast_to(warm[:, -1:], true.shape)), _no_events(true)


def constant_speed(warm: np.ndarray, actions: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ball flies on, through everything."""
    steps = np.arange(1, true.shape[1] + 1)[:, None]
    found = np.broadcast_to(warm[:, -1:], true.shape).copy()
    found[..., [BALL_X, BALL_Y]] += steps * found[..., [SPEED_X, SPEED_Y]]
    return _of_ball(true, found), _no_events(true)


def with_walls(low: float, high: float) -> Predictor:
    """The ball flies on and is reflected where a ball's middle turns: at `low` and `high`."""

    def predict(warm: np.ndarray, actions: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found, events = constant_speed(warm, actions, true)
        before = np.concatenate([warm[:, -1:, BALL_Y], found[:, :-1, BALL_Y]], axis=1)
        turns = (np.floor((found[..., BALL_Y] - low) / (high - low)), np.floor((before - low) / (high - low)))
        events[..., WALL] = turns[0] != turns[1]
        away = np.mod(found[..., BALL_Y] - low, 2.0 * (high - low))
        found[..., BALL_Y] = low + np.minimum(away, 2.0 * (high - low) - away)
        return found, events

    return predict


def exact_table(settings: TableSettings) -> Predictor:
    """The exact game itself: its error is zero, or the measure is wrong."""

    def predict(warm: np.ndarray, actions: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        table = Table(settings, len(warm))
        table.reset(0)
        table.place(warm[:, -1])
        steps = [table.step(*actions[:, step].T) for step in range(warm.shape[1] - 1, actions.shape[1])]
        return np.stack([states for states, _ in steps], axis=1), np.stack([events for _, events in steps], axis=1)

    return predict


def baselines(low: float, high: float) -> dict[str, Predictor]:
    """The three baselines by name; the walls lie where the training split's balls turn."""
    return {
        "nothing changes": nothing_changes,
        "constant speed": constant_speed,
        "constant speed, walls": with_walls(low, high),
    }


def _of_ball(true: np.ndarray, found: np.ndarray) -> np.ndarray:
    states = true.copy()
    states[..., BALL_X : SPEED_Y + 1] = found[..., BALL_X : SPEED_Y + 1]
    return states


def _no_events(true: np.ndarray) -> np.ndarray:
    return np.zeros((*true.shape[:2], len(EVENTS)), np.bool_)
