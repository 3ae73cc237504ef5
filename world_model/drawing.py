"""The emulator's screen drawn from a state of `atari`: three rectangles in its own colours on the empty field.

A policy trained on the emulator's screens looks at these as it does at those; the score, which no policy here sees, is
left out.
"""

import numpy as np

from world_model.states import BALL_X, BALL_Y, LEFT, RIGHT

HEIGHT, WIDTH = 210, 160
FIELD_TOP, FIELD_BOTTOM = 34, 194  # rows of the screen between the walls
_FIELD, _WALL, _LEFT, _RIGHT, _BALL = 34, 14, 56, 200, 14  # of the emulator's palette
RGB = {34: (144, 72, 17), 14: (236, 236, 236), 56: (213, 130, 74), 200: (92, 186, 92)}
_WALL_HEIGHT = 10
_LEFT_X, _RIGHT_X, _PADDLE_WIDTH, _PADDLE_HEIGHT, _BALL_WIDTH, _BALL_HEIGHT = 16, 140, 4, 16, 2, 4
# The screen's row or column at which each is drawn, less its place in the emulator's memory.
_LEFT_TOP, _RIGHT_TOP, _BALL_TOP, _BALL_LEFT = -15, -13, -14, -49
# A ball so far right and down is drawn a row higher: the emulated machine has read its place before it moves.
_LATE_X, _LATE_Y = 200, 100

_EMPTY = np.full((HEIGHT, WIDTH), _FIELD, np.uint8)
_EMPTY[FIELD_TOP - _WALL_HEIGHT : FIELD_TOP] = _WALL
_EMPTY[FIELD_BOTTOM:] = _WALL
_COLOURS = np.zeros((256, 3), np.uint8)
_COLOURS[list(RGB)] = list(RGB.values())


def screen(state: np.ndarray) -> np.ndarray:
    """Palette indices, uint8 [210, 160], of one state, float64 [V]."""
    ball_x, ball_y, left, right = (int(state[place]) for place in (BALL_X, BALL_Y, LEFT, RIGHT))
    drawn = _EMPTY.copy()
    _draw(drawn, _LEFT_X, left + _LEFT_TOP, _PADDLE_WIDTH, _PADDLE_HEIGHT, _LEFT)
    _draw(drawn, _RIGHT_X, right + _RIGHT_TOP, _PADDLE_WIDTH, _PADDLE_HEIGHT, _RIGHT)
    if ball_y > 0:
        late = ball_x >= _LATE_X and ball_y >= _LATE_Y
        _draw(drawn, ball_x + _BALL_LEFT, ball_y + _BALL_TOP - late, _BALL_WIDTH, _BALL_HEIGHT, _BALL)
    return drawn


def rgb(state: np.ndarray) -> np.ndarray:
    """The same in colours, uint8 [210, 160, 3]."""
    colours: np.ndarray = _COLOURS[screen(state)]
    return colours


def _draw(drawn: np.ndarray, x: int, y: int, width: int, height: int, colour: int) -> None:
    drawn[max(FIELD_TOP, y) : max(FIELD_TOP, min(FIELD_BOTTOM, y + height)), max(0, x) : max(0, x + width)] = colour
