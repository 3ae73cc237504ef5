"""REINFORCE's batch: the rollouts' gradients, added in a fixed tree, and one step of RMSProp.

On a cluster the gradients may stay where they are computed and be summed there: `RemoteSumBatch`.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import invariants
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.exact_math import norm
from bitexact.determinism.tree_sum import Float64Sum, TreeSum
from bitexact.storage.state import State
from pong.play import RolloutId
from training import rmsprop
from training.batch import Batch, Learned, is_compared
from training.reinforce import ReinforceSettings
from training.rmsprop import RMSProp
from training.rollout_record import RolloutRecord
from training.rollout_task import RolloutTask


class ReinforceBatch(Batch):
    """One gradient a rollout, one step."""

    def __init__(self, settings: ReinforceSettings, state: State, task: RolloutTask) -> None:
        super().__init__(settings, state, task)
        self._settings = settings
        self._sum = TreeSum(settings.batch_size)
        self._compared = Float64Sum(state.weights) if is_compared(self.update) else None

    def _take(self, index: int, result: Arrays) -> None:
        self._sum.add(index, result)
        if self._compared:
            self._compared.add(result)

    def _total(self) -> Arrays:
        total: Arrays = self._sum.total()
        return total

    def _learn(self) -> Learned:
        settings, weights, gradient = self._settings, self._state.weights, self._total()
        if self._compared:
            invariants.a_sum_agrees_with_float64(self._compared.excess(gradient), {"update": self.update})
        self.gradient_norm = norm(gradient)
        before = RMSProp.from_arrays(self._state.optimizer, weights)
        after, optimizer = before.step(weights, gradient, settings.learning_rate, settings.decay_rate)
        return Learned(after, optimizer, rmsprop.largest_step(settings.learning_rate, settings.decay_rate))


class RemoteSum(Protocol):
    """A sum of gradients that are elsewhere."""

    excess: float  # of the additions that were compared with float64, the largest error over its bound
    is_whole: bool  # each gradient went into it once

    def add(self, index: int, gradient: Any, names: dict[str, str]) -> None:
        """Take one in, or what stands for it, and the fingerprints of its arrays."""

    def total(self) -> Arrays | None:
        """The sum, once all are in; None if something of it is lost."""

    def gradients(self) -> Iterator[tuple[int, Arrays | None]]:
        """The gradients themselves, by index; None for one that is lost."""


class Reducer(Protocol):
    """Where gradients are added while they are elsewhere."""

    def begin(self, update: int, size: int, like: Arrays, drawn: int = 0) -> RemoteSum | None:
        """A sum of so many gradients, each as large as `like`; None if they do not fit.

        `drawn` decides which entries are compared with float64.
        """


class RemoteSumBatch(ReinforceBatch):
    """On a cluster: gradients stay on its nodes, and their sum comes to the driver."""

    leaves_results = True

    def __init__(self, settings: ReinforceSettings, state: State, task: RolloutTask, remote_sum: RemoteSum) -> None:
        super().__init__(settings, state, task)
        self._remote_sum: RemoteSum | None = remote_sum
        self._brought: Arrays | None = None
        self._lost: dict[int, str] = {}  # digests of rollouts that were counted in, and must be played again

    def add(self, result: Any, record: RolloutRecord) -> None:
        """Count one rollout in; one that is played again must be the same."""
        if record.index in self._lost:
            where = {"update": record.update, "index": record.index}
            invariants.a_rollout_done_twice_gives_the_same_bytes(self._lost[record.index], record.digest, where)
        super().add(result, record)

    def missing(self) -> list[RolloutId]:
        """The rollouts to be played; once all are, those whose gradient was lost before it was added."""
        if self._remote_sum and not super().missing():
            self._brought = self._remote_sum.total()
            if self._brought is None:
                self._add_here(self._remote_sum)
            else:
                where = {"update": self.update}
                invariants.a_sum_made_on_nodes_holds_each_rollout_once(self._remote_sum.is_whole, where)
                invariants.a_sum_made_on_nodes_agrees_with_float64(self._remote_sum.excess, where)
            self._remote_sum = None
        return super().missing()

    def _add_here(self, remote_sum: RemoteSum) -> None:
        """As on one machine, from now on: also those that are played again come to the driver."""
        self.leaves_results = False
        for index, gradient in remote_sum.gradients():
            if gradient is None:
                self._forget(index)
            else:
                super()._take(index, gradient)

    def _forget(self, index: int) -> None:
        self._lost |= {record.index: record.digest for record in self._records if record.index == index}
        self._records = [record for record in self._records if record.index != index]

    def _take(self, index: int, result: Any) -> None:
        if self._remote_sum is None:
            super()._take(index, result)
            return
        (arrays,) = (record.arrays for record in self._records if record.index == index)
        self._remote_sum.add(index, result, {name: arrays[name] for name in self._state.weights})

    def _total(self) -> Arrays:
        return self._brought or super()._total()
