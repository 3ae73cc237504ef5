"""Work of `frozen_lake.py`: the game and the learning, pure functions. The loop around them is loop.py's."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import gymnasium
import numpy as np
import ray

from bitexact.cluster.worker import Worker
from bitexact.determinism.streams import Stream
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage.state import State
from examples import invariants
from examples.loop import Key, Problem, Result, result

FIELDS, MOVES = 16, 4
BATCH, GAMES, RATE = 16, 20, 10.0


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    NOISE = 0
    ICE = 1


@dataclass(frozen=True)
class TryNoise:
    """What is done for a rollout, by an actor or by replay: a function of the weights and the key."""

    seed: int

    def run(self, game: Any, weights: dict[str, np.ndarray], key: Key) -> Result:
        """Play with noise added, and taken away."""
        noise = (
            Stream(self.seed, Purpose.NOISE, key.update, key.index).uniforms(FIELDS * MOVES).reshape(FIELDS, MOVES)
            - 0.5
        )
        ice = iter(Stream(self.seed, Purpose.ICE, key.update, key.index))
        tables = (weights["table"] + sign * noise for sign in (1.0, -1.0))
        more, less = (sum(cross(game, table, ice) for _ in range(GAMES)) for table in tables)
        return result(key, {"table": (noise * (more - less)).astype(np.float32)}, reward=more + less)


def make_lake() -> Any:
    """The game. The ice is ours: the game's own would not be addressed."""
    return gymnasium.make("FrozenLake-v1", is_slippery=False)


def cross(game: Any, table: np.ndarray, ice: Iterator[float]) -> int:
    """One game: 1 if the other side is reached. A third of the moves slip to the left, a third to the right."""
    field, _ = game.reset()
    over, reward = False, 0
    while not over:
        slip = int(next(ice) * 3.0) - 1
        field, reward, terminated, truncated, _ = game.step((int(table[field].argmax()) + slip) % MOVES)
        over = terminated or truncated
    return int(reward)


def first_state() -> State:
    """No move is liked better than another."""
    return State(0, {"table": np.zeros((FIELDS, MOVES), np.float32)}, {})


def learn(state: State, results: dict[Key, Result]) -> State:
    """The state after the next update: one step along the sum of all noise, each worth what it won."""
    total = TreeSum(BATCH)  # in an order that does not depend on arrival
    for key, (gradient, _) in results.items():
        total.add(key.index, gradient)
    step = np.float32(RATE / (BATCH * GAMES)) * total.total()["table"]
    return State(state.update + 1, {"table": state.weights["table"] + step}, {})


def summarize(wins: float, where: dict[str, int]) -> tuple[str, dict[str, float]]:
    """The share of the walkers that reach the other side."""
    share = wins / (2 * GAMES * BATCH)
    invariants.the_walkers_learn(share, where)
    return f"{share:.0%} reach the other side", {"wins": share}


@ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
class Walker(Worker):
    """The actor: it holds nothing that a rollout could change."""

    def __init__(self) -> None:
        super().__init__(make_lake())


def problem(seed: int) -> Problem:
    """What the loop is to know of it."""
    return Problem(first_state(), TryNoise(seed), BATCH, learn, make_lake, Walker, summarize)
