"""One person's play: the exact game and the dreamt one side by side, the same keys to both.

    session = Session(model, seed=0)
    shown = session.tick(key=-1)

It knows no clock, no browser and no terminal: a tick is a step of both games, and says what there is to be drawn.
"""

from typing import Any, Literal

import numpy as np

from world_model.dream import Dream
from world_model.exact import begun
from world_model.kept import Kept, Track
from world_model.measure import ball_error
from world_model.model import Model
from world_model.players import TRACKER, Players
from world_model.policy_player import PolicyPlayer
from world_model.states import BALL_X, BALL_Y, EVENTS, LEFT, LEFT_SCORE, RIGHT, RIGHT_SCORE, Game, Layout, is_over

PlayerName = Literal["you", "tracker", "policy"]
_PAUSE = 120  # steps that a finished game stands still before the next begins
_ATARI_LEFT, _ATARI_TOP = 49.0, 48.0  # the emulator's numbers of a ball in the field's corner
_ATARI_PADDLES = {LEFT: (16.0, 49.0), RIGHT: (140.0, 47.0)}  # left edge in pixels; the number of a paddle at the top


def players_of(layout: Layout) -> tuple[PlayerName, ...]:
    """Who may have the right paddle."""
    return ("you", "tracker", "policy") if layout.game == "atari" else ("you", "tracker")


class _Side:
    """One of both games with its players."""

    def __init__(self, game: Game, states: np.ndarray, seed: int, number: int) -> None:
        self.game, self.states = game, states
        self.track: Track | None = None
        height, indices = game.layout.paddle_height, np.array([number])
        self._trackers = {side: Players(side, height, seed, indices, kind=TRACKER) for side in (LEFT, RIGHT)}
        self._policy = PolicyPlayer() if game.layout.game == "atari" else None
        self.events = np.zeros((1, len(EVENTS)), np.bool_)

    def step(self, player: PlayerName, key: int) -> None:
        """One step; the left side is the tracker's or, in `atari`, the game's own, whose model knows no left action."""
        left, right = (self._trackers[side].act(self.states) for side in (LEFT, RIGHT))
        if self._policy:
            left = np.zeros(1, np.int8)
        if player == "you":
            right = np.array([key], np.int8)
        elif player == "policy" and self._policy:
            right = np.array([self._policy.act(self.states[0])], np.int8)
        ended = self.is_over()
        self.states, self.events = self.game.step(left, right)
        if self.track and not ended:
            self.track.note(np.stack([left, right], axis=1), self.states, self.events)

    def is_over(self) -> bool:
        """Whether a side has all its points."""
        return bool(is_over(self.states, self.game.layout)[0])


class Session:
    """Both games, and what they are played with; with `kept`, exact games that come to their end are kept there."""

    def __init__(
        self,
        model: Model,
        seed: int = 0,
        player: PlayerName = "tracker",
        temperature: float = 0.0,
        kept: Kept | None = None,
    ) -> None:
        self._model, self._seed, self.player, self._kept = model, seed, player, kept
        self.temperature, self._number, self._left = temperature, -1, 0
        self.restart()

    def restart(self) -> None:
        """The next game, in both."""
        self._number = self._kept.take_number() if self._kept else self._number + 1
        self._exact = _Side(*begun(self._model.layout, self._seed, self._number), self._seed, self._number)
        self._exact.track = Track(self._exact.states) if self._kept else None
        self._dream = Dream(self._model, 1, self.temperature)
        self._dreamt = _Side(self._dream, self._dream.reset(self._seed, self._number), self._seed, self._number)
        self.sync()
        self._left = _PAUSE

    def sync(self) -> None:
        """Put the dream onto the exact game's state."""
        self._dream.place(self._exact.states)
        self._dreamt.states = self._exact.states.copy()

    def tick(self, key: int) -> dict[str, Any]:
        """A step of both games with a key of -1, 0 or 1: what there is to be drawn."""
        layout = self._model.layout
        self._dream.temperature = self.temperature
        ended = self._exact.is_over()
        self._exact.step(self.player, key)
        self._dreamt.step(self.player, key)
        if self._kept and self._exact.track and self._exact.is_over() and not ended:
            self._kept.add(self._number, self._exact.track.episode())
        if self._exact.is_over() or (self._dreamt.is_over() and not self._kept):  # a game to be kept is played out
            self._left -= 1
        if self._left == 0:
            self.restart()
        error = ball_error(self._dreamt.states, self._exact.states, layout.height)[0]
        return {
            "exact": shown(layout, self._exact.states[0]),
            "dream": shown(layout, self._dreamt.states[0]),
            "error": round(float(error), 4),
        }


def shown(layout: Layout, state: np.ndarray) -> dict[str, Any]:
    """Ball and paddles as rectangles [x, y, width, height], in shares of the field, and the score."""
    rectangles = _atari(state) if layout.game == "atari" else _table(layout, state)
    score = [int(state[LEFT_SCORE]), int(state[RIGHT_SCORE])]
    return {**{name: [round(part, 4) for part in one] for name, one in rectangles.items()}, "score": score}


def _table(layout: Layout, state: np.ndarray) -> dict[str, list[float]]:
    size, face, height = (layout.settings[name] for name in ("ball_size", "paddle_x", "paddle_height"))
    return {
        "ball": [float(state[BALL_X]) - size / 2, float(state[BALL_Y]) - size / 2, size, size],
        "left": [face - size, float(state[LEFT]) - height / 2, size, height],
        "right": [1.0 - face, float(state[RIGHT]) - height / 2, size, height],
    }


def _atari(state: np.ndarray) -> dict[str, list[float]]:
    width = 160.0
    found = {
        "ball": [(state[BALL_X] - _ATARI_LEFT) / width, (state[BALL_Y] - _ATARI_TOP) / width, 2 / width, 4 / width]
    }
    for name, side in (("left", LEFT), ("right", RIGHT)):
        x, top = _ATARI_PADDLES[side]
        found[name] = [x / width, (state[side] - top) / width, 4 / width, 16 / width]
    if state[BALL_Y] == 0:  # nowhere, until it is served
        found["ball"] = [-1.0, -1.0, 0.0, 0.0]
    return {name: [float(part) for part in one] for name, one in found.items()}
