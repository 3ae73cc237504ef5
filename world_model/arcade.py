"""The dreamt emulator: `pong.game.Pong` with a model in the emulator's place.

    game = DreamtPong(load(Path("pretrained/atari-rnn")))
    observation, _ = game.reset(seed=0, options={"update": 1, "index": 0})

Sticky actions, four frames a step, preprocessing and the limit of steps are Pong's own, so that whatever plays the real
game plays this one: a Gymnasium environment, and the interface that a rollout asks for.
"""

from typing import Any

import numpy as np
from ale_py import Action

from pong.game import Pong
from world_model import drawing
from world_model.dream import Dream
from world_model.model import Model
from world_model.states import LEFT_SCORE, POINT_LEFT, POINT_RIGHT, RIGHT_SCORE, is_over

_NUMBERS = {Action.RIGHT: -1, Action.NOOP: 0, Action.LEFT: 1}
_RAM_BYTES, _RAM_POINTS_RIGHT, _RAM_POINTS_LEFT = 128, 14, 13
_INDICES = 2**32  # of an update: more games than any has


class DreamtEmulator:
    """A model, asked as `ALEInterface` is."""

    def __init__(self, model: Model, temperature: float = 0.0) -> None:
        self._dream = Dream(model, 1, temperature)
        self.noted: list[tuple[np.ndarray, np.ndarray, np.ndarray]] | None = None  # of each frame, where asked for
        self.reset_game()

    def reset_game(self, seed: int = 0, index: int = 0) -> None:
        """Start a game of this name."""
        self._state = self._dream.reset(seed, index)

    @property
    def state(self) -> np.ndarray:
        """Of the game as it is now, float64 [V]."""
        state: np.ndarray = self._state[0]
        return state

    def act(self, action: Action) -> int:
        """One frame: the points won less those lost."""
        actions = np.zeros((1, 2), np.int8)
        actions[0, 1] = _NUMBERS[action]
        self._state, events = self._dream.step(*actions.T)
        if self.noted is not None:
            self.noted.append((self._state[0], events[0], actions[0]))
        return int(events[0, POINT_RIGHT]) - int(events[0, POINT_LEFT])

    def game_over(self) -> bool:
        """Whether a side has all its points."""
        return bool(is_over(self._state, self._dream.layout)[0])

    def getScreenDims(self) -> tuple[int, int]:  # noqa: N802, the emulator's name
        """Rows and columns."""
        return drawing.HEIGHT, drawing.WIDTH

    def getScreen(self, screen: np.ndarray) -> None:  # noqa: N802
        """Draw the state, in palette indices."""
        screen[:] = drawing.screen(self._state[0])

    def getScreenRGB(self) -> np.ndarray:  # noqa: N802
        """Draw the state, in colours."""
        return drawing.rgb(self._state[0])

    def getRAM(self) -> np.ndarray:  # noqa: N802
        """A memory that holds the scores, where the emulator has them."""
        memory = np.zeros(_RAM_BYTES, np.uint8)
        memory[_RAM_POINTS_LEFT], memory[_RAM_POINTS_RIGHT] = self._state[0, [LEFT_SCORE, RIGHT_SCORE]]
        return memory

    def cloneSystemState(self) -> None:  # noqa: N802
        """Nothing need be kept: a game begins by its name."""

    def restoreSystemState(self, state: None) -> None:  # noqa: N802
        """The game has begun by its name."""


class DreamtPong(Pong):
    """Pong as a model of `atari` dreams it. Its serves are drawn from a stream of the game's name."""

    def __init__(self, model: Model, temperature: float = 0.0, render_mode: str | None = None) -> None:
        self.dreamt = DreamtEmulator(model, temperature)
        super().__init__(render_mode=render_mode, emulator=self.dreamt)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """As Pong's."""
        observation = super().reset(seed=seed, options=options)
        stream_seed, update, index = self._name
        self.dreamt.reset_game(stream_seed, update * _INDICES + index)
        return observation
