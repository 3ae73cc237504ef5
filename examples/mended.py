"""Work of `mended_pong.py`: the naive loop's game, network and step, so cut that the kit's loop can hold them."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import ray

from bitexact.cluster.worker import Worker
from bitexact.determinism.arrays import add_prefix, strip_prefix
from bitexact.determinism.streams import Stream
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage.state import State
from examples import naive_pong
from examples.loop import Key, Problem, Result, result
from examples.naive_pong import Model

BATCH = 4
CACHE = "rmsprop."


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    GAMES = 0


@dataclass(frozen=True)
class Play:
    """A rollout as a pure function of the weights and its name: whoever computes it comes to the same bytes."""

    seed: int

    def run(self, environment: Any, weights: dict[str, np.ndarray], key: Key) -> Result:
        """Play a game, and follow its gradient."""
        drawn = next(iter(Stream(self.seed, Purpose.GAMES, key.update, key.index)))
        gradient, _, reward = naive_pong.rollout(Model.of(weights), environment, seed=int(drawn * 2**31))
        return result(key, gradient, reward)


def first_state(seed: int) -> State:
    """The naive loop's."""
    model = Model(seed)
    return State(0, model.weights, add_prefix(CACHE, model.cache))


def learn(state: State, results: dict[Key, Result]) -> State:
    """RMSProp along the sum of all gradients, in an order that does not depend on arrival."""
    total = TreeSum(BATCH)
    for key, (gradient, _) in results.items():
        total.add(key.index, gradient)
    model = Model.of(state.weights, strip_prefix(CACHE, state.optimizer))
    model.step(total.total())
    return State(state.update + 1, model.weights, add_prefix(CACHE, model.cache))


def summarize(rewards: float, where: dict[str, int]) -> tuple[str, dict[str, float]]:
    """The mean reward of a game."""
    return f"reward {rewards / BATCH:+.2f}", {"reward": rewards / BATCH}


@ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
class Player(Worker):
    """The actor: a game, which each rollout resets with a seed of its own."""

    def __init__(self) -> None:
        super().__init__(naive_pong.make_environment())


def problem(seed: int) -> Problem:
    """What the loop is to know of it."""
    return Problem(first_state(seed), Play(seed), BATCH, learn, naive_pong.make_environment, Player, summarize)
