"""Who moves the paddles of a table: for each game a player with a manner of its own, drawn from the kit's streams.

tracker   follows the ball as it saw it some steps ago, beside a point of its paddle that changes now and then
lazy      the same, but only for a ball that comes and has passed the net
random    goes to a place, and then to another one

All three go to a target; they differ in which.
"""

from collections import deque

import numpy as np

from bitexact.determinism.streams import Stream
from world_model.states import BALL_X, BALL_Y, LEFT, RIGHT, SPEED_X, WAIT, Purpose

TRACKER, LAZY, RANDOM = range(3)
NAMES = ("tracker", "lazy", "random")
_SHARES = (0.7, 0.25, 0.05)  # of the games that a side is played so in a recording
_LONGEST_DELAY = 12  # steps
_STEPS_A_MOOD = 30  # after so many steps a player aims elsewhere
_BLOCK = 256  # moods drawn at a time


class Players:
    """One side's players in N games, each named by (seed, index, side)."""

    def __init__(
        self, side: int, paddle_height: float, seed: int, indices: np.ndarray, kind: int | None = None
    ) -> None:
        self._side, self._height = side, paddle_height
        draws = [Stream(seed, Purpose.PLAYERS_SETTINGS, side, int(index)).uniforms(3) for index in indices]
        manner, delay, care = np.stack(draws).T
        bounds = np.add.accumulate(np.array(_SHARES[:-1]))
        self._kind = np.searchsorted(bounds, manner, side="right") if kind is None else np.full(len(indices), kind)
        self._delay = (delay * (_LONGEST_DELAY + 1)).astype(np.int64)
        self._spread = (0.3 + 0.4 * care) * paddle_height  # over half a paddle at most: now and then it misses
        self._streams = [Stream(seed, Purpose.PLAYERS, side, int(index)) for index in indices]
        self._moods: np.ndarray = np.zeros((0, 0))
        self._seen: deque[np.ndarray] = deque(maxlen=_LONGEST_DELAY + 1)
        self._steps = 0

    def act(self, states: np.ndarray) -> np.ndarray:
        """Their actions in these states, int8 [N]."""
        self._seen.appendleft(states[:, BALL_Y].copy())
        back = np.minimum(self._delay, len(self._seen) - 1)
        ball_y = np.stack(self._seen)[back, np.arange(len(back))]
        mood = self._mood()
        target = np.where(self._kind == RANDOM, mood, ball_y + (2.0 * mood - 1.0) * self._spread)
        away = target - states[:, self._side]
        wants = np.sign(away) * (np.abs(away) > 0.1 * self._height)
        comes = (states[:, SPEED_X] < 0.0) & (states[:, BALL_X] < 0.5)
        if self._side == RIGHT:
            comes = (states[:, SPEED_X] > 0.0) & (states[:, BALL_X] > 0.5)
        rests = (self._kind == LAZY) & ~(comes & (states[:, WAIT] == 0))
        actions: np.ndarray = (wants * ~rests).astype(np.int8)
        return actions

    def _mood(self) -> np.ndarray:
        number = self._steps // _STEPS_A_MOOD % _BLOCK
        if self._steps % (_STEPS_A_MOOD * _BLOCK) == 0:
            self._moods = np.stack([stream.uniforms(_BLOCK) for stream in self._streams])
        self._steps += 1
        mood: np.ndarray = self._moods[:, number]
        return mood


def both_sides(paddle_height: float, seed: int, indices: np.ndarray) -> tuple[Players, Players]:
    """The players of the left and of the right side."""
    return Players(LEFT, paddle_height, seed, indices), Players(RIGHT, paddle_height, seed, indices)
