"""One game of Pong played by a policy: a pure function of (weights, seed, update, index), without Ray.

trajectory = play(Pong(), weights, RolloutId(seed=0, update=1, index=0))
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from scipy import sparse

import policy
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.streams import Purpose, Stream
from pong.game import PIXELS

Observation = tuple[np.ndarray, np.ndarray]  # indices of the inputs that are not 0, ascending, and float32 signs


@dataclass(frozen=True, order=True)
class RolloutId:
    """The name of a game: all of its randomness comes from the streams that bear it."""

    seed: int
    update: int
    index: int

    def __str__(self) -> str:
        return f"{self.update}.{self.index}"

    @property
    def details(self) -> dict[str, int]:
        """What a property says of where it failed."""
        return {"update": self.update, "index": self.index}


class Game(Protocol):
    """What `play` needs of a game; `pong.game.Pong` is one."""

    @property
    def changed(self) -> Observation:
        """The pixels that differ from the step before."""

    def reset(self, *, seed: int, options: dict[str, Any]) -> Any:
        """Start the game called (seed, options["update"], options["index"])."""

    def observe(self) -> Observation:
        """All that can be seen."""

    def advance(self, action: int) -> tuple[int, bool, bool]:
        """One step: reward, terminated, truncated."""


@dataclass(frozen=True)
class Trajectory:
    """What happened in one game of T steps."""

    observations: sparse.csr_array  # [T, D], float32 of +1 and -1: what the policy saw before each step
    hidden: np.ndarray  # float32 [T, H]
    probabilities: np.ndarray  # float64 [T], of "up"
    ups: np.ndarray  # bool [T], the actions
    rewards: np.ndarray  # int8 [T]
    truncated: bool  # ended by the limit of steps, not by a side's 21 points


def play(game: Game, weights: Arrays, rollout_id: RolloutId, thresholds: Iterator[float] | None = None) -> Trajectory:
    """Play one game: up whenever the policy's probability is above the next threshold.

    A policy of PIXELS inputs sees what changed; one of more, all that `Pong.observe` gives. The thresholds of training
    are the uniform numbers of the policy's stream; evaluation brings its own.
    """
    seed, update, index = rollout_id.seed, rollout_id.update, rollout_id.index
    game.reset(seed=seed, options={"update": update, "index": index})
    forward, inputs = policy.Forward(weights), len(weights["W1"])
    thresholds = thresholds or iter(Stream(seed, Purpose.POLICY, update, index))
    observations, hiddens, probabilities, ups, rewards = [], [], [], [], []
    over = truncated = False
    while not over:
        observation = game.observe() if inputs > PIXELS else game.changed
        probability, hidden = forward(*observation)
        up = next(thresholds) < probability
        reward, terminated, truncated = game.advance(up)
        over = terminated or truncated
        observations.append(observation)
        hiddens.append(hidden)
        probabilities.append(probability)
        ups.append(up)
        rewards.append(reward)
    return Trajectory(
        observations=_stack(observations, inputs),
        hidden=np.array(hiddens),
        probabilities=np.array(probabilities),
        ups=np.array(ups),
        rewards=np.array(rewards, np.int8),
        truncated=truncated,
    )


def _stack(observations: list[Observation], inputs: int) -> sparse.csr_array:
    """Observations as the rows of one matrix, float32 [T, D]; a sign of 0 is no entry."""
    pixels, signs = zip(*observations, strict=True)
    row_ends = np.cumsum([0, *map(len, pixels)])
    entries = (np.concatenate(signs), np.concatenate(pixels), row_ends)
    matrix = sparse.csr_array(entries, shape=(len(observations), inputs))
    matrix.eliminate_zeros()
    return matrix
