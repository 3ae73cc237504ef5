"""One update: the rollouts of a batch summed, and one step of the optimizer. The driver and replay share it.

batch = Batch(settings, state)
for index in range(settings.batch_size):
    batch.add(*rollout.compute_gradient(...))      # in any order
state = step(settings, state, batch.gradient())
"""

import math
from typing import Any

import numpy as np

import invariants
import policy
from aggregation import Float64Sum, TreeSum
from digests import fingerprint
from policy import Arrays
from rollout import RolloutRecord
from settings import Settings
from state import State

_COMPARED_EVERY = 10  # updates between comparisons of the sum with a float64 sum: it costs as much as the sum itself


class Batch:
    """The rollouts that make one update."""

    def __init__(self, settings: Settings, state: State) -> None:
        self.update = state.update + 1
        self.keys = [(self.update, index) for index in range(settings.batch_size)]
        self._weights = fingerprint(state.weights)
        self._sum = TreeSum(settings.batch_size)
        self._compared = Float64Sum(state.weights) if self.update % _COMPARED_EVERY == 1 else None
        self._records: list[RolloutRecord] = []

    def add(self, gradient: Arrays, record: RolloutRecord) -> None:
        """Count one rollout in."""
        where = {"update": record.update, "index": record.index}
        invariants.a_result_comes_from_the_current_weights(record.weights, self._weights, where)
        self._records.append(record)
        self._sum.add(record.index, gradient)
        if self._compared:
            self._compared.add(gradient)

    def gradient(self) -> Arrays:
        """The sum over the whole batch."""
        where = {"update": self.update}
        indices = [record.index for record in self._records]
        invariants.a_batch_holds_each_index_once(indices, len(self.keys), where)
        total = self._sum.total()
        if self._compared:
            invariants.a_sum_agrees_with_float64(self._compared.excess(total), where)
        return total

    @property
    def records(self) -> list[RolloutRecord]:
        """The rollouts' records by index."""
        return sorted(self._records, key=lambda record: record.index)


def step(settings: Settings, state: State, gradient: Arrays) -> State:
    """One step uphill."""
    where = {"update": state.update + 1}
    weights, cache = policy.rmsprop(state.weights, state.cache, gradient, settings.learning_rate, settings.decay_rate)
    invariants.weights_are_finite(weights, where)
    invariants.a_mean_square_is_never_negative(cache, where)
    moved = max(float(np.max(np.abs(weights[name] - state.weights[name]))) for name in weights)
    largest = max(float(np.max(np.abs(array))) for array in weights.values())
    bound = policy.largest_rmsprop_step(settings.learning_rate, settings.decay_rate) * 1.0001 + largest * 2.0**-23
    invariants.no_weight_moves_further_than_the_optimizer_can(moved, bound, where)
    return State(state.update + 1, weights, cache)


def statistics(records: list[RolloutRecord], gradient: Arrays, earlier_rewards: list[int]) -> dict[str, Any]:
    """What metrics.jsonl says of a batch. `earlier_rewards` are those of the rollouts before it, newest last."""
    rewards = [record.reward for record in records]
    last_100 = (earlier_rewards + rewards)[-100:]
    return {
        "update": records[0].update,
        "rollouts": len(records),
        "steps": sum(record.steps for record in records),
        "reward_mean": math.fsum(rewards) / len(rewards),
        "reward_min": min(rewards),
        "reward_max": max(rewards),
        "reward_mean_100": math.fsum(last_100) / len(last_100),
        "loss": math.fsum(record.loss for record in records) / len(records),
        "gradient_norm": math.sqrt(math.fsum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradient.values())),
        "points_won": sum(record.points_won for record in records),
        "points_lost": sum(record.points_lost for record in records),
    }
