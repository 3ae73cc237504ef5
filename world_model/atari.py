"""The emulator's Pong behind the same interface, frame by frame: its state is read from its memory.

What a frame does next follows from this state and the action, nearly always (docs/world-model.md): places, speeds, the
right player's paddle knob, and a clock of eight frames at which the opponent rests. (A paddle moves to the middle
between where it is and where its knob points.) Whole numbers all, in the emulator's own units. The knob is not in the
memory, which holds a reading of it every second frame: it is counted, as the actions turn it.

Episodes are recorded as they are played for training: four frames a step, sticky actions of the kit's streams.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from ale_py import Action

from bitexact.determinism.streams import Stream
from bitexact.storage import checkpoints
from policy import Forward
from pong.game import DOWN, UP, Pong
from world_model.model_path import POLICY
from world_model.recording import Episode
from world_model.states import (
    BALL_Y,
    EVENTS,
    HIT_LEFT,
    HIT_RIGHT,
    LEFT_SCORE,
    POINT_LEFT,
    POINT_RIGHT,
    RIGHT_SCORE,
    SERVE,
    SPEED_X,
    SPEED_Y,
    WAIT,
    WALL,
    Layout,
    Purpose,
)

KNOB = 6
VARIABLES = ("ball_x", "ball_y", "speed_x", "speed_y", "left_y", "right_y", "knob")
LAYOUT = Layout(
    game="atari",
    variables=VARIABLES,
    whole=True,
    straight=False,
    width=160.0,
    height=160.0,
    paddle_height=16.0,
    clock=8,
    hides_ball=True,
    serve_wait=63,
    first_to=21,
    served=5,  # the opponent waits for the ball where it comes from
)

# Where the emulator keeps them. The ball's speed to the right is kept negated.
_RAM = {"ball_x": 49, "ball_y": 54, "left_y": 50, "right_y": 51, "left_score": 13, "right_score": 14, "wait": 11}
_RAM_SPEED_X, _RAM_SPEED_Y, _RAM_FRAMES = 58, 56, 8
_PLACES = np.array([_RAM[name] for name in ("ball_x", "ball_y", "left_y", "right_y")])
# In fifths of what an action turns it in a frame: the ends and the middle of the emulator's paddle knob.
_KNOB_LOW, _KNOB_HIGH, _KNOB_FIRST, _KNOB_TURN = 6, 172, 89, 5
_TOP, _BOTTOM = 60, 190  # a ball that turns beyond is turned by the wall
_ACTIONS = {-1: Action.RIGHT, 0: Action.NOOP, 1: Action.LEFT}  # the emulator's names: RIGHT moves the paddle up
_NUMBERS = {action: number for number, action in _ACTIONS.items()}
_CARELESS = (0.0, 0.05, 0.3, 1.0)  # shares of an episode's time in which the policy is not asked
_LONGEST_WHIM = 12  # steps


def state_of(memory: np.ndarray, knob: float) -> np.ndarray:
    """The state that the emulator's memory holds, float64 [V], with where the right knob is."""
    speed_x, speed_y = memory[[_RAM_SPEED_X, _RAM_SPEED_Y]].astype(np.int8).tolist()
    ball_x, ball_y, left, right = memory[_PLACES].tolist()
    rest = [
        memory[_RAM_FRAMES] % LAYOUT.clock,
        memory[_RAM["wait"]],
        memory[_RAM["left_score"]],
        memory[_RAM["right_score"]],
    ]
    return np.array([ball_x, ball_y, -speed_x, speed_y, left, right, knob, *rest], np.float64)


def events_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """What happened in the frames between states, bool [T, 6] of float64 [T, V] each."""
    plays = (before[:, WAIT] == 0) & (after[:, WAIT] == 0)
    events = np.zeros((len(before), len(EVENTS)), np.bool_)
    events[:, HIT_LEFT] = plays & (before[:, SPEED_X] < 0) & (after[:, SPEED_X] > 0)
    events[:, HIT_RIGHT] = plays & (before[:, SPEED_X] > 0) & (after[:, SPEED_X] < 0)
    turns = plays & (before[:, SPEED_Y] * after[:, SPEED_Y] < 0) & (before[:, SPEED_X] == after[:, SPEED_X])
    events[:, WALL] = turns & ((before[:, BALL_Y] < _TOP) | (before[:, BALL_Y] > _BOTTOM))
    events[:, POINT_LEFT] = after[:, LEFT_SCORE] > before[:, LEFT_SCORE]
    events[:, POINT_RIGHT] = after[:, RIGHT_SCORE] > before[:, RIGHT_SCORE]
    events[:, SERVE] = (before[:, WAIT] == 1) & (after[:, WAIT] == 0)
    return events


class _Watched:
    """The emulator, with each frame's action and memory noted after it."""

    def __init__(self, emulator: Any, note: Callable[[Any], None]) -> None:
        self._emulator, self._note = emulator, note

    def act(self, action: Any) -> int:
        reward: int = self._emulator.act(action)
        self._note(action)
        return reward

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emulator, name)


class Frames(Pong):
    """Pong that keeps the state before it and after each of its frames, and the action held in each."""

    def __init__(self) -> None:
        super().__init__()
        self._emulator = _Watched(self._emulator, self._note)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a game with its first state alone."""
        observation = super().reset(seed=seed, options=options)
        self.states, self.actions = [state_of(self._emulator.getRAM(), _KNOB_FIRST)], list[int]()
        return observation

    def _note(self, action: Any) -> None:
        if not self._emulator.game_over() or not self._is_over():
            turned = self.states[-1][KNOB] + _KNOB_TURN * _NUMBERS[action]
            knob = min(max(turned, _KNOB_LOW), _KNOB_HIGH)
            self.states.append(state_of(self._emulator.getRAM(), knob))
            self.actions.append(_NUMBERS[action])

    def _is_over(self) -> bool:
        return bool(self.states[-1][[LEFT_SCORE, RIGHT_SCORE]].max() >= LAYOUT.first_to)

    def frame(self, action: int) -> np.ndarray:
        """One frame with an action of -1, 0 or 1: the state after it."""
        self._emulator.act(_ACTIONS[action])
        self._steps += 1  # of which the picture needs to know that there was one
        return self.states[-1]


class Atari:
    """The emulator as one exact game: the opponent is its own, so `left` is not asked."""

    layout = LAYOUT

    def __init__(self) -> None:
        self._frames = Frames()

    def reset(self, seed: int) -> np.ndarray:
        """Start the game; it is the same for every seed, as all its variety is in the actions."""
        self._frames.reset(seed=seed)
        return self._frames.states[-1][None]

    def step(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One frame."""
        before = self._frames.states[-1][None]
        after = self._frames.frame(int(right[0]))[None]
        del self._frames.states[:-1], self._frames.actions[:]
        return after.copy(), events_between(before, after)

    def picture(self) -> np.ndarray:
        """The screen, RGB, uint8 [210, 160, 3]."""
        return self._frames.picture()


@functools.cache
def _frames() -> Frames:
    return Frames()


@functools.cache
def trained_policy() -> Forward:
    """The policy that comes with the project."""
    return Forward(checkpoints.load_any(POLICY).weights)


def play_episode(seed: int, number: int) -> Episode:
    """One game of the trained policy, which has whims: for a while it does anything."""
    game = _frames()
    game.reset(seed=seed, options={"update": 0, "index": number})
    play_with_whims(game, seed, number)
    states, actions = np.stack(game.states), np.zeros((len(game.actions), 2), np.int8)
    actions[:, 1] = game.actions
    return Episode(states, events_between(states[:-1], states[1:]), actions)


def play_with_whims(game: Pong, seed: int, number: int) -> None:
    """Play a game that was reset to its end."""
    forward, chance = trained_policy(), iter(Stream(seed, Purpose.ATARI_RECORDING, index=number))
    careless = _CARELESS[(number + number // 10) % len(_CARELESS)]
    over, whim, left = False, UP, 0
    while not over:
        if left == 0 and next(chance) * _LONGEST_WHIM / 2 < careless:
            whim, left = (UP if next(chance) < 0.5 else DOWN), 1 + int(next(chance) * _LONGEST_WHIM)
        wanted = UP if next(chance) < forward(*game.observe())[0] else DOWN
        _, terminated, truncated = game.advance(whim if left else wanted)
        over, left = terminated or truncated, max(0, left - 1)
