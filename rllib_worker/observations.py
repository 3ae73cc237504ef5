"""What a network is shown: one flat vector of float32 numbers, whatever the game's own observations are.

    [ which actions are legal | which agent it is | its own observation | everybody's observations ]

Parts that a game or a policy configuration has no use for are empty. `Layout` says where each stands. Discrete
observations become one-hot, boxes are flattened, pictures become grey, 42 x 42 and a stack of the last four.
"""

import itertools
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from bitexact.cli.exits import BadInput

SIDE, STACKED = 42, 4
_SMALLEST_PICTURE = 40  # a box of three dimensions with smaller sides is a board or a map, and is flattened


@dataclass(frozen=True)
class Layout:
    """The sizes of the vector's parts."""

    mask: int  # actions, where the game says which are legal; 0 where all always are
    agents: int  # 0 unless agents share a value function
    own: int
    everybody: int = 0  # 0 unless agents share a value function
    picture: bool = False  # the own observation is STACKED pictures of SIDE x SIDE

    @property
    def size(self) -> int:
        """Numbers of the whole vector."""
        return self.mask + self.agents + self.own + self.everybody

    def parts(self) -> tuple[slice, slice, slice, slice]:
        """Where the mask, the agent, its own observation and everybody's stand."""
        ends = np.cumsum([0, self.mask, self.agents, self.own, self.everybody]).tolist()
        first, second, third, fourth = (slice(start, end) for start, end in itertools.pairwise(ends))
        return first, second, third, fourth

    def space(self) -> spaces.Box:
        """The space of the vector, as RLlib sees it."""
        return spaces.Box(-np.inf, np.inf, (self.size,), np.float32)


class Encoder:
    """Turns one agent's own observations into numbers."""

    def __init__(self, space: spaces.Space[Any], where: str) -> None:
        self._masked = isinstance(space, spaces.Dict)
        if isinstance(space, spaces.Dict):
            self.mask = int(np.prod(space["action_mask"].shape or ()))
            space = space["observation"]
        else:
            self.mask = 0
        self._space = space
        self.picture = _is_picture(space)
        self.size = STACKED * SIDE * SIDE if self.picture else _flat_size(space, where)
        self._frames: deque[np.ndarray] = deque(maxlen=STACKED)

    def reset(self) -> None:
        """A new episode begins."""
        self._frames.clear()

    def mask_of(self, observation: Any) -> np.ndarray:
        """1 for each legal action, 0 for the others; empty where the game does not say."""
        return np.asarray(observation["action_mask"], np.float32) if self._masked else np.zeros(0, np.float32)

    def __call__(self, observation: Any) -> np.ndarray:
        """The numbers; of a picture, those of the last frames too, of which this is the newest."""
        value = observation["observation"] if self._masked else observation
        if isinstance(self._space, spaces.Discrete):
            one_hot = np.zeros(int(self._space.n), np.float32)
            one_hot[int(value) - int(self._space.start)] = 1.0
            return one_hot
        if not self.picture:
            return np.asarray(value, np.float32).ravel()
        self._frames.append(_small(value))
        missing = STACKED - len(self._frames)
        stacked: np.ndarray = np.concatenate([self._frames[0]] * missing + list(self._frames))
        return stacked


def _is_picture(space: spaces.Space[Any]) -> bool:
    shape = space.shape or ()
    return len(shape) == 3 and space.dtype == np.uint8 and min(shape[:2]) >= _SMALLEST_PICTURE


def _flat_size(space: spaces.Space[Any], where: str) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.Box):
        return int(np.prod(space.shape))
    raise BadInput(
        f"environment.env_id: {where} observes {space}, which the worker cannot encode: choose another game."
    )


def _small(picture: np.ndarray) -> np.ndarray:
    """The mean of each of SIDE x SIDE fields of a picture, between 0 and 1, as one row."""
    height, width, channels = picture.shape
    rows, columns = (np.arange(SIDE) * length // SIDE for length in (height, width))
    grey = picture.sum(axis=2, dtype=np.int64)
    sums = np.add.reduceat(np.add.reduceat(grey, rows, axis=0), columns, axis=1)
    counts = np.diff(rows, append=height)[:, None] * np.diff(columns, append=width)[None, :]
    small: np.ndarray = (sums / (counts * 255.0 * channels)).astype(np.float32).ravel()
    return small
