"""A game to 21 points that takes less than a millisecond: eight pixels, a point a step. Everything else is as in Pong.

    with tiny_games():
        train(...)

What the policy sees decides what it should do, so that weights matter; who wins a point is drawn from a stream, so that
each game is a pure function of (seed, update, index) and of the actions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from bitexact.determinism.streams import Purpose, Stream
from pong import games, play
from pong.games import ChosenGame
from pong.play import Observation
from training import initial_state

PIXELS, SEEN = 8, 12
POINTS = 21
_PAIRS = [np.array([lower, lower + 1], np.int32) for lower in range(PIXELS - 1)]
_SEEN = [np.append(pair, PIXELS + pair[0] % (SEEN - PIXELS)).astype(np.int32) for pair in _PAIRS]
_CHANGES, _SIGHTS = np.array([1.0, -1.0], np.float32), np.ones(3, np.float32)


class TinyGame:
    """`pong.play.Game`: up is right where the lower of two pixels is an even one, and mostly rewarded then."""

    def reset(self, *, seed: int, options: dict[str, Any]) -> None:
        """Start the game called (seed, update, index)."""
        self._draws = iter(Stream(seed, Purpose.STICKY_ACTIONS, options["update"], options["index"]))
        self._won = self._lost = 0
        self._look()

    @property
    def changed(self) -> Observation:
        """Two of the pixels."""
        return _PAIRS[self._lower], _CHANGES

    def observe(self) -> Observation:
        """The same, and a third input that says which of them it is about."""
        return _SEEN[self._lower], _SIGHTS

    def advance(self, action: int) -> tuple[int, bool, bool]:
        """One point."""
        right = bool(action) == (self._lower % 2 == 0)
        won = next(self._draws) < (0.8 if right else 0.2)
        self._won, self._lost = self._won + won, self._lost + (not won)
        self._look()
        return (1 if won else -1), POINTS in (self._won, self._lost), False

    def _look(self) -> None:
        self._lower = int(next(self._draws) * len(_PAIRS))


@contextmanager
def tiny_games() -> Iterator[None]:
    """Whoever chooses a game is given this one, and policies have its inputs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(games, "choose", lambda *chosen: ChosenGame(TinyGame))
        patch.setattr(play, "PIXELS", PIXELS)
        patch.setattr(initial_state, "PIXELS", PIXELS)
        patch.setattr(initial_state, "SEEN", SEEN)
        yield
