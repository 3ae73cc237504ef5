"""What a game of two paddles is, for every game here: its state, its events, its players' actions.

A state is one row of float64: the variables that a model predicts, then a clock that goes round (always 0 in a game
that has none), how many steps are left until the ball is served (0 while it is in play), and both scores. The ball's
place and speed and the paddles' places are the first six of every game; a game may have others. y grows downwards, as
on a screen; an action is -1 up, 0 stay, +1 down.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

import numpy as np

BALL_X, BALL_Y, SPEED_X, SPEED_Y, LEFT, RIGHT = range(6)
CLOCK, WAIT, LEFT_SCORE, RIGHT_SCORE = -4, -3, -2, -1  # the last columns
EVENTS = ("hit_left", "hit_right", "wall", "point_left", "point_right", "serve")
HIT_LEFT, HIT_RIGHT, WALL, POINT_LEFT, POINT_RIGHT, SERVE = range(len(EVENTS))
PREDICTED_EVENTS = EVENTS[:SERVE]  # a serve follows from the score: it is drawn, not predicted


class Purpose(IntEnum):
    """What a stream of the kit is for; far from the trainer's numbers."""

    TABLE_SERVES = 1700
    PLAYERS = 1701
    PLAYERS_SETTINGS = 1702
    MODEL_WEIGHTS = 1703
    WINDOWS = 1704
    DREAM = 1705
    DREAM_EVENTS = 1708
    COMPARE = 1706
    ATARI_RECORDING = 1707


@dataclass(frozen=True)
class Layout:
    """What a model must know of the game that it learns, without knowing the game."""

    game: str
    variables: tuple[str, ...]  # those that are predicted; the first six are every game's
    whole: bool  # whether all variables are whole numbers
    straight: bool  # whether the ball keeps its speed exactly while nothing happens to it
    width: float
    height: float
    paddle_height: float
    clock: int  # after so many steps the game's clock has gone round; 1 where there is none
    hides_ball: bool  # whether ball_y is 0 until the serve
    serve_wait: int  # steps from the point to the serve
    first_to: int
    served: int = 4  # so many of the first variables does a serve set: the ball's, or the left paddle's place too
    settings: dict[str, float] = field(default_factory=dict)  # all that a table can be made of again

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of a state's columns."""
        return (*self.variables, "clock", "wait", "left_score", "right_score")


class Game(Protocol):
    """N games side by side, exact or dreamt."""

    layout: Layout

    def reset(self, seed: int) -> np.ndarray:
        """Start the games called (seed, 0), (seed, 1), ...: their states, float64 [N, V]."""

    def step(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step with each side's actions, int8 [N]: the states, float64 [N, V], and events, bool [N, 6]."""


def is_over(states: np.ndarray, layout: Layout) -> np.ndarray:
    """Which games have a side with all its points, bool [N]."""
    over: np.ndarray = np.maximum(states[:, LEFT_SCORE], states[:, RIGHT_SCORE]) >= layout.first_to
    return over
