"""The trained policy as a player of `atari`, frame by frame: it looks at the drawn screen every fourth frame."""

import numpy as np
from ale_py import Action

from pong.game import DOWN, FRAMES_PER_STEP, UP, Pong
from world_model import drawing
from world_model.atari import trained_policy


class _Screen:
    """An emulator that shows a state it is given, and does nothing."""

    state = np.zeros(11)

    def reset_game(self) -> None:
        """There is no game."""

    def getScreenDims(self) -> tuple[int, int]:  # noqa: N802, the emulator's names
        return drawing.HEIGHT, drawing.WIDTH

    def getScreen(self, screen: np.ndarray) -> None:  # noqa: N802
        screen[:] = drawing.screen(self.state)

    def getScreenRGB(self) -> np.ndarray:  # noqa: N802
        return drawing.rgb(self.state)

    def cloneSystemState(self) -> None:  # noqa: N802
        """There is none."""

    def restoreSystemState(self, state: None) -> None:  # noqa: N802
        """There is none."""

    def act(self, action: Action) -> int:
        return 0

    def game_over(self) -> bool:
        return False


class PolicyPlayer:
    """Up or down, whichever the policy finds more probable."""

    def __init__(self) -> None:
        self._screen = _Screen()
        self._eyes = Pong(emulator=self._screen)
        self._eyes.reset(seed=0)
        self._frames, self._action = 0, 0

    def act(self, state: np.ndarray) -> int:
        """The action in a state of `atari`, float64 [V]: -1 or 1, held for four frames."""
        if self._frames % FRAMES_PER_STEP == 0:
            self._screen.state = state
            self._eyes.advance(DOWN)
            probability, _ = trained_policy()(*self._eyes.observe())
            self._action = -1 if (UP if probability > 0.5 else DOWN) == UP else 1
        self._frames += 1
        return self._action
