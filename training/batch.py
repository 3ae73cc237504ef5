"""A batch: the rollouts that make one update. What is common to all ways of learning from them.

batch = new_batch(settings, state)                               # update.py: the preset's kind
for rollout_id in batch.missing():
    batch.add(*batch.task.run(game, state.weights, rollout_id))  # in any order, anywhere
state = batch.learn()
"""

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple, Protocol

import numpy as np

import invariants
from bitexact.determinism.arrays import Arrays, denormals
from bitexact.determinism.digests import fingerprint
from bitexact.storage.state import State
from pong.play import RolloutId
from training.base_settings import BaseSettings
from training.rollout_record import RolloutRecord
from training.rollout_task import RolloutTask

_COMPARED_EVERY = 10  # updates between comparisons with float64: they cost as much as what they are held against
_ROUNDING = 2.0**-23  # float32's, relative to a weight


class Optimizer(Protocol):
    """What is asked of an optimizer once it has made its steps."""

    @property
    def square(self) -> Arrays:
        """Its running mean of the gradient's square."""

    def arrays(self) -> Arrays:
        """All of it, for checkpoints and digests."""


class Learned(NamedTuple):
    """What came of a batch."""

    weights: Arrays
    optimizer: Optimizer
    largest_move: float  # no weight can have moved further from where it was, but for rounding


class Batch(ABC):
    """The rollouts that make one update, each counted once. A kind of batch says how they are learned from."""

    leaves_results = False  # whether what a rollout brings stays on the node where it was played

    def __init__(self, settings: BaseSettings, state: State, task: RolloutTask) -> None:
        self.update, self.task = state.update + 1, task
        self.rollout_ids = [RolloutId(settings.seed, self.update, index) for index in range(settings.batch_size)]
        self.gradient_norm = math.nan  # of the update's gradient, or the mean of its minibatches'
        self._state = state
        self._played_with = fingerprint(state.weights)
        self._records: list[RolloutRecord] = []

    def add(self, result: Any, record: RolloutRecord) -> None:
        """Count one rollout in: what its task's `run` gave. Raises PropertyFailed."""
        where = {"update": record.update, "index": record.index}
        invariants.a_result_comes_from_the_current_weights(record.weights, self._played_with, where)
        self._records.append(record)
        self._take(record.index, result)

    def missing(self) -> list[RolloutId]:
        """The rollouts that are still to be played: at first all, in the end none."""
        counted = {record.index for record in self._records}
        return [rollout_id for rollout_id in self.rollout_ids if rollout_id.index not in counted]

    def learn(self) -> State:
        """The state after the update. Raises PropertyFailed."""
        indices = [record.index for record in self._records]
        invariants.a_batch_holds_each_index_once(indices, len(self.rollout_ids), {"update": self.update})
        learned = self._learn()
        self._check(learned)
        return State(self.update, learned.weights, learned.optimizer.arrays())

    @property
    def records(self) -> list[RolloutRecord]:
        """The rollouts' records by index."""
        return sorted(self._records, key=lambda record: record.index)

    @abstractmethod
    def _take(self, index: int, result: Any) -> None:
        """Keep what a rollout brought."""

    @abstractmethod
    def _learn(self) -> Learned:
        """Learn from all that was brought."""

    def _check(self, learned: Learned) -> None:
        where, before, after = {"update": self.update}, self._state.weights, learned.weights
        invariants.weights_are_finite(after, where)
        invariants.a_mean_square_is_never_negative(learned.optimizer.square, where)
        invariants.no_optimizer_state_is_denormal(denormals(learned.optimizer.arrays()), where)
        moved = max(float(np.max(np.abs(after[name] - before[name]))) for name in before)
        largest = max(float(np.max(np.abs(array))) for array in after.values())
        bound = learned.largest_move * 1.0001 + largest * _ROUNDING
        invariants.no_weight_moves_further_than_the_optimizer_can(moved, bound, where)


def is_compared(update: int) -> bool:
    """Whether an update's arithmetic is held against the same in float64."""
    return update % _COMPARED_EVERY == 1
