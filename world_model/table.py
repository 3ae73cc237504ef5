"""Table tennis computed exactly: N games at once, each a function of (seed, its index, the actions).

    game = Table(games=1024)
    states = game.reset(seed=0)
    states, events = game.step(left, right)

The field is 1 by 1. Ball, collisions, score and serve are functions of their own over columns of all games: only
+ - * and comparisons, so the bits are the same on any processor, for 1 game or 4,096.
"""

import dataclasses
from dataclasses import dataclass

import numpy as np

from bitexact.cli.exits import BadInput
from bitexact.determinism.streams import Stream
from world_model.states import (
    BALL_X,
    BALL_Y,
    EVENTS,
    HIT_LEFT,
    HIT_RIGHT,
    LEFT,
    LEFT_SCORE,
    POINT_LEFT,
    POINT_RIGHT,
    RIGHT,
    RIGHT_SCORE,
    SERVE,
    SPEED_X,
    SPEED_Y,
    WAIT,
    WALL,
    Layout,
    Purpose,
    is_over,
)

VARIABLES = ("ball_x", "ball_y", "speed_x", "speed_y", "left_y", "right_y")


@dataclass(frozen=True)
class TableSettings:
    """Everything that may vary from one table to another. Lengths are shares of the field, times are steps."""

    first_to: int = 11
    """points that win a game"""
    ball_speed: float = 0.012
    """along the table at a serve, a step"""
    speed_up: float = 1.03
    """the ball's speed is multiplied by it at each hit"""
    max_speed: float = 0.02
    """the ball is never faster along the table"""
    serve_slope_min: float = 0.1
    """a serve goes at least so far across for its way along"""
    serve_slope_max: float = 0.7
    """... and at most so far"""
    bounce_slope: float = 0.9
    """the same of a ball hit with the very end of a paddle"""
    ball_size: float = 0.02
    """side of the ball's square"""
    paddle_height: float = 0.2
    """of a paddle"""
    paddle_speed: float = 0.015
    """how far a paddle moves in a step"""
    paddle_x: float = 0.05
    """distance of a paddle's face from its end of the table"""
    serve_wait: int = 30
    """steps from a point to the serve"""

    def check(self) -> None:
        """Raise BadInput for settings that no game can be played with."""
        if not 1 <= self.first_to <= 1000:
            raise BadInput("--first-to is a number of points from 1 to 1000.")
        if not 0 < self.serve_slope_min <= self.serve_slope_max <= 2:
            raise BadInput("--serve-slope-min and --serve-slope-max are in this order between 0 and 2.")
        if not 0 < self.ball_speed <= self.max_speed <= 0.1 or self.speed_up < 1:
            raise BadInput("--ball-speed is above 0 and at most --max-speed, which is at most 0.1; --speed-up from 1.")
        if not 0 < self.paddle_height < 1 or not 0 < self.ball_size < 0.2 or not 0 < self.paddle_x < 0.4:
            raise BadInput("--paddle-height, --ball-size and --paddle-x are shares of the field: below 1, 0.2 and 0.4.")
        if not 0 < self.paddle_speed < 1 or not 1 <= self.serve_wait <= 600 or not 0 <= self.bounce_slope <= 2:
            raise BadInput("--paddle-speed is below 1, --serve-wait from 1 to 600, --bounce-slope from 0 to 2.")


class Table:
    """The exact game. Every method works on all games at once."""

    def __init__(self, settings: TableSettings | None = None, games: int = 1) -> None:
        self.settings = settings or TableSettings()
        self.layout = layout_of(self.settings)
        self._games = games

    def reset(self, seed: int, indices: np.ndarray | None = None) -> np.ndarray:
        """Start the games (seed, index), by default 0 to N - 1: their states, just served."""
        indices = np.arange(self._games) if indices is None else indices
        serves = 2 * self.settings.first_to  # no game has more
        streams = (Stream(seed, Purpose.TABLE_SERVES, index=int(index)) for index in indices)
        self._chance = np.stack([stream.uniforms(3 * serves).reshape(serves, 3) for stream in streams])
        self._states = np.zeros((len(indices), len(self.layout.columns)))
        self._states[:, [LEFT, RIGHT]] = 0.5
        self._serve(np.ones(len(indices), np.bool_))
        return self._states.copy()

    def place(self, states: np.ndarray) -> None:
        """Go on from these states, one for each game that was reset."""
        self._states = states.copy()

    def step(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step of every game that is not over."""
        states, events = self._states, np.zeros((len(self._states), len(EVENTS)), np.bool_)
        waits = states[:, WAIT] > 0
        playing = ~is_over(states, self.layout)
        moving = playing & ~waits
        self._move_paddles(left * playing, right * playing)
        before = states[:, BALL_X].copy()
        states[:, BALL_X] += states[:, SPEED_X] * moving
        states[:, BALL_Y] += states[:, SPEED_Y] * moving
        events[:, WALL] = self._walls(moving)
        events[:, HIT_LEFT] = self._hits(moving, before, LEFT)
        events[:, HIT_RIGHT] = self._hits(moving, before, RIGHT)
        events[:, POINT_LEFT] = moving & (states[:, BALL_X] > 1.0)
        events[:, POINT_RIGHT] = moving & (states[:, BALL_X] < 0.0)
        events[:, SERVE] = playing & (states[:, WAIT] == 1)
        self._count(events)
        states[waits & playing, WAIT] -= 1
        if events[:, SERVE].any():
            self._serve(events[:, SERVE])
        return states.copy(), events

    def _move_paddles(self, left: np.ndarray, right: np.ndarray) -> None:
        half = self.settings.paddle_height / 2
        for column, action in ((LEFT, left), (RIGHT, right)):
            moved = self._states[:, column] + action * self.settings.paddle_speed
            self._states[:, column] = np.minimum(np.maximum(moved, half), 1.0 - half)

    def _walls(self, moving: np.ndarray) -> np.ndarray:
        """Reflect the balls that are beyond a wall: which they were."""
        y, low = self._states[:, BALL_Y], self.settings.ball_size / 2
        above, below = moving & (y < low), moving & (y > 1.0 - low)
        y[above] = 2 * low - y[above]
        y[below] = 2 * (1.0 - low) - y[below]
        self._states[above | below, SPEED_Y] *= -1.0
        return above | below

    def _hits(self, moving: np.ndarray, before: np.ndarray, side: int) -> np.ndarray:
        """Reflect the balls whose square came through a paddle's face where the paddle is: which they were."""
        set_, states = self.settings, self._states
        reach = (set_.paddle_height + set_.ball_size) / 2
        face = set_.paddle_x + set_.ball_size / 2 if side == LEFT else 1.0 - set_.paddle_x - set_.ball_size / 2
        x, offset = states[:, BALL_X], states[:, BALL_Y] - states[:, side]
        through = (x < face) & (before >= face) if side == LEFT else (x > face) & (before <= face)
        hit: np.ndarray = moving & through & (np.abs(offset) <= reach)
        if hit.any():
            speed = np.minimum(np.abs(states[hit, SPEED_X]) * set_.speed_up, set_.max_speed)
            x[hit] = 2 * face - x[hit]
            states[hit, SPEED_X] = speed if side == LEFT else -speed
            states[hit, SPEED_Y] = speed * set_.bounce_slope * (offset[hit] / reach)
        return hit

    def _count(self, events: np.ndarray) -> None:
        self._states[:, LEFT_SCORE] += events[:, POINT_LEFT]
        self._states[:, RIGHT_SCORE] += events[:, POINT_RIGHT]
        self._states[events[:, POINT_LEFT] | events[:, POINT_RIGHT], WAIT] = self.settings.serve_wait

    def _serve(self, serving: np.ndarray) -> None:
        """Put the ball into the middle, on its way to a side and at a slope that are drawn."""
        set_, states = self.settings, self._states
        points = (states[serving, LEFT_SCORE] + states[serving, RIGHT_SCORE]).astype(np.int64)
        to_side, up_or_down, slope = self._chance[serving.nonzero()[0], points].T
        across = set_.serve_slope_min + (set_.serve_slope_max - set_.serve_slope_min) * slope
        states[serving, BALL_X] = states[serving, BALL_Y] = 0.5
        states[serving, SPEED_X] = np.where(to_side < 0.5, -1.0, 1.0) * set_.ball_speed
        states[serving, SPEED_Y] = np.where(up_or_down < 0.5, -1.0, 1.0) * set_.ball_speed * across


def layout_of(settings: TableSettings) -> Layout:
    """What a model must know of such a table."""
    return Layout(
        game="table",
        variables=VARIABLES,
        whole=False,
        straight=True,
        width=1.0,
        height=1.0,
        paddle_height=settings.paddle_height,
        clock=1,
        hides_ball=False,
        serve_wait=settings.serve_wait,
        first_to=settings.first_to,
        settings=dataclasses.asdict(settings),
    )
