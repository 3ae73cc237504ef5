"""Atari Pong as a seeded Gymnasium environment, preprocessed as in Karpathy's "Pong from pixels".

One step is one action held for four frames, each of which repeats the previous action with probability 0.25: the
rules of `ALE/Pong-v5`. The emulator itself runs without sticky actions and without frame skip; this class applies both
from a stream of its own (`streams.Purpose.STICKY_ACTIONS`). The emulator then holds no randomness, and a game is a
function of its seed, update and index and of the actions taken.

    game = Pong()
    observation, _ = game.reset(seed=0, options={"update": 1, "index": 0})
    observation, reward, terminated, truncated, _ = game.step(UP)

It knows no policy and no Ray.
"""

from pathlib import Path
from typing import Any, ClassVar, cast

import gymnasium
import numpy as np
from ale_py import Action, ALEInterface, LoggerMode, roms

from bitexact.determinism.streams import Purpose, Stream

DOWN, UP = 0, 1
POINTS_TO_WIN = 21
SIDE = 80  # pixels, of the preprocessed picture
PIXELS = SIDE * SIDE
CELL_SIDES = (2, 4, 8)  # pixels: the coarser pictures have 40, 20 and 10 cells a side
CELLS = sum((SIDE // side) ** 2 for side in CELL_SIDES)
SEEN = 2 * PIXELS + CELLS  # inputs of a policy that sees all that `Pong.observe` gives
FRAMES_PER_STEP = 4
STICKY_PROBABILITY = 0.25
MAX_STEPS = 27_000  # Gymnasium's 108,000 frames; the emulator alone has no limit

_RAM_POINTS_FOR, _RAM_POINTS_AGAINST = 14, 13

# Karpathy's 2 and 3 count in Gymnasium's minimal action set; the emulator's own names are these.
_EMULATOR_ACTION = {UP: Action.RIGHT, DOWN: Action.LEFT}

# Karpathy takes the red channel and calls 0, 109 and 144 background. These are the palette indices with such a red.
_BACKGROUND = frozenset((0, 1, 34, 48, 128, 144, 151, 160, 176, 192, 206, 228))
FOREGROUND = bytes(index not in _BACKGROUND for index in range(256))


_IS_LIT = np.frombuffer(FOREGROUND, np.bool_)
_LIT = _IS_LIT.astype(np.float32)


def playing_field(screen: np.ndarray) -> np.ndarray:
    """Rows 35 to 194 of a screen, every second row and column: a view, uint16 [80, 80], of uint8 [210, 160].

    Two neighbours are read as one number, whose low byte is the left one: cut to 8 bits, in half of the time that a
    stride of 2 takes.
    """
    return screen.view("<u2")[35:195:2]


def foreground(screen: np.ndarray) -> np.ndarray:
    """Which pixels of the playing field are lit: int8 [6400] of 0 and 1, from palette indices, uint8 [210, 160]."""
    return _LIT.take(playing_field(screen).astype(np.uint8).ravel()).astype(np.int8)


def _cells_of_pixels() -> np.ndarray:
    """The cells that each pixel lies in, numbered through: int64 [6400, 3], one column for each of CELL_SIDES."""
    row, column = np.divmod(np.arange(PIXELS), SIDE)
    first, cells = 0, []
    for side in CELL_SIDES:
        across = SIDE // side
        cells.append(first + row // side * across + column // side)
        first += across * across
    return np.stack(cells, axis=1)


_CELLS_OF = _cells_of_pixels()


def _emulator() -> ALEInterface:
    """Pong with nothing random in it, one frame an act."""
    ALEInterface.setLoggerMode(LoggerMode.Error)
    emulator = ALEInterface()
    emulator.setInt("random_seed", 0)
    emulator.setInt("frame_skip", 1)
    emulator.setFloat("repeat_action_probability", 0.0)
    emulator.loadROM(cast(Path, roms.get_rom_path("pong")))
    return emulator


class Pong(gymnasium.Env[np.ndarray, np.int64]):
    """One game at a time. Actions: 0 is down, 1 is up. Observations: the difference of two frames, int8 [6400].

    `changed` is the same observation for those who compute with what is not zero, about 25 pixels: indices, ascending,
    and float32 signs. Where a colour changed within the foreground or the background, the sign is 0. `emulator` may be
    anything that is asked as `ALEInterface` is.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 15}  # type: ignore[misc]  # Gymnasium has it an instance variable

    def __init__(
        self, sticky_probability: float = STICKY_PROBABILITY, render_mode: str | None = None, emulator: Any = None
    ) -> None:
        self.action_space = gymnasium.spaces.Discrete(2)
        self.observation_space = gymnasium.spaces.Box(-1, 1, (PIXELS,), np.int8)
        self.render_mode = render_mode
        self._sticky_probability = sticky_probability
        self._emulator = emulator or _emulator()
        self._screen = np.empty(self._emulator.getScreenDims(), np.uint8)
        # After a restore the emulator shows the last game's screen until it acts, so the first screen is kept too.
        self._emulator.reset_game()
        self._first_state = self._emulator.cloneSystemState()
        self._emulator.getScreen(self._screen)
        self._playing_field = playing_field(self._screen)
        self._first_colours = self._playing_field.astype(np.uint8).ravel()
        self._first_rgb = self._emulator.getScreenRGB()
        self._name = (0, 0, -1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the game called (seed, options["update"], options["index"]); with neither, the next one by index."""
        super().reset(seed=seed)
        if seed is None and options is None:
            self._name = (*self._name[:2], self._name[2] + 1)
        else:
            options = options or {}
            self._name = (self._name[0] if seed is None else seed, options.get("update", 0), options.get("index", 0))
        stream_seed, update, index = self._name
        self._sticky = iter(Stream(stream_seed, Purpose.STICKY_ACTIONS, update, index))
        self._emulator.restoreSystemState(self._first_state)
        self._colours = self._first_colours
        self._lit = _IS_LIT.take(self._first_colours)
        self._held = Action.NOOP
        self._steps = 0
        self.changed = np.zeros(0, np.intp), np.zeros(0, np.float32)
        return np.zeros(PIXELS, np.int8), {}

    def step(self, action: int | np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Hold an action for four frames. The reward is the points won less the points lost."""
        reward, terminated, truncated = self.advance(int(action))
        observation = np.zeros(PIXELS, np.int8)
        pixels, signs = self.changed
        observation[pixels] = signs
        return observation, float(reward), terminated, truncated, {}

    def advance(self, action: int) -> tuple[int, bool, bool]:
        """The same for those who read `changed`: reward, terminated, truncated."""
        emulator, sticky, wanted = self._emulator, self._sticky, _EMULATOR_ACTION[action]
        reward = 0
        for _ in range(FRAMES_PER_STEP):
            if next(sticky) >= self._sticky_probability:
                self._held = wanted
            reward += emulator.act(self._held)  # once the game is over, it changes nothing and gives 0
        self._steps += 1
        self._look()
        terminated = emulator.game_over()
        return reward, terminated, not terminated and self._steps >= MAX_STEPS

    def _look(self) -> None:
        """Read the screen and compare it with the last one: only where they differ is it asked what is lit."""
        self._emulator.getScreen(self._screen)
        before, now = self._colours, self._playing_field.astype(np.uint8).ravel()
        pixels = (now != before).nonzero()[0]
        lit = _LIT.take(now.take(pixels))
        signs = lit - _LIT.take(before.take(pixels))
        self._lit[pixels] = lit
        self._colours, self.changed = now, (pixels, signs)

    def observe(self) -> tuple[np.ndarray, np.ndarray]:
        """What changed; from PIXELS on, what is lit; from 2 PIXELS on, the same in coarser pictures, cell by cell.

        A cell is lit if one of its pixels is. What is learned of a cell is learned of all places in it: with the
        coarser pictures, two thirds of the games teach as much. Indices, ascending, and float32 signs.
        """
        pixels, signs = self.changed
        lit = self._lit.nonzero()[0]
        is_lit = np.zeros(CELLS, np.bool_)
        is_lit[_CELLS_OF.take(lit, axis=0)] = True
        cells = is_lit.nonzero()[0]
        ones = np.ones(len(lit) + len(cells), np.float32)
        return np.concatenate((pixels, lit + PIXELS, cells + 2 * PIXELS)), np.concatenate((signs, ones))

    def score(self) -> tuple[int, int]:
        """The points for and against, as the game itself counts them: read from its memory, not added up."""
        memory = self._emulator.getRAM()
        return int(memory[_RAM_POINTS_FOR]), int(memory[_RAM_POINTS_AGAINST])

    def picture(self) -> np.ndarray:
        """The screen as it is now, RGB, uint8 [210, 160, 3]."""
        return self._emulator.getScreenRGB() if self._steps else self._first_rgb.copy()

    def render(self) -> Any:
        """The screen as Gymnasium asks for it: the picture, or nothing where no render mode was chosen."""
        return self.picture() if self.render_mode == "rgb_array" else None
