"""One update: a batch of rollouts taken in, and what is learned from it. The driver, replay and faults share it.

    batch = new_batch(settings, state)
    for rollout_id in batch.missing():
        batch.add(*batch.task.run(game, state.weights, rollout_id))        # in any order, anywhere
    state = batch.learn()

Two presets, one loop. `reinforce`: each rollout brings its gradient, they are summed, and RMSProp takes one step. On
a cluster the gradients may stay where they are computed, and be summed there: `SpreadBatch`.
`ppo`: each rollout brings its steps; in a few passes over all of them, minibatch by minibatch, Adam takes many
small ones. The driver does that itself: no half-done pass is left behind by an actor that dies.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

import invariants
import policy
from bitexact.determinism.arrays import Arrays, add_prefix, strip_prefix
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.exact_math import norm
from bitexact.determinism.tree_sum import Float64Sum, TreeSum
from bitexact.storage.state import State
from pong.play import Game, RolloutId
from training import ppo
from training.ppo import Adam, GameSteps, Objective, Steps, gather_rows, scatter_rows
from training.rollout_record import RolloutRecord
from training.rollout_task import StepsTask, task_of
from training.settings import REINFORCE, Settings

_COMPARED_EVERY = 10  # updates between comparisons of a sum with a float64 sum: it costs as much as the sum itself
_ROUNDING = 2.0**-23  # float32's, relative to a weight


class Batch(ABC):
    """The rollouts that make one update."""

    leaves_results = False  # whether what a rollout brings stays on the node where it was played

    def __init__(self, settings: Settings, state: State) -> None:
        self._settings, self._state = settings, state
        self.update = state.update + 1
        self.task = task_of(settings)
        self.rollout_ids = [RolloutId(settings.seed, self.update, index) for index in range(settings.batch_size)]
        self._played_with = fingerprint(state.weights)
        self._records: list[RolloutRecord] = []
        self.gradient_norm = math.nan  # of the update's gradient, or the mean of its minibatches'

    def add(self, result: Any, record: RolloutRecord) -> None:
        """Count one rollout in."""
        where = {"update": record.update, "index": record.index}
        invariants.a_result_comes_from_the_current_weights(record.weights, self._played_with, where)
        self._records.append(record)
        self._take(record.index, result)

    def missing(self) -> list[RolloutId]:
        """The rollouts that are still to be played: at first all, in the end none."""
        counted = {record.index for record in self._records}
        return [rollout_id for rollout_id in self.rollout_ids if rollout_id.index not in counted]

    @property
    def method(self) -> str:
        """The actor's, as the pool asks for it."""
        if isinstance(self.task, StepsTask):
            return "play"
        return "leave_gradient" if self.leaves_results else "compute_gradient"

    def missing_keys(self) -> list[tuple[int, int]]:
        """The rollouts that are still to be played, as the pool names them."""
        return [(rollout_id.update, rollout_id.index) for rollout_id in self.missing()]

    def learn(self) -> State:
        """The state after the update."""
        where = {"update": self.update}
        invariants.a_batch_holds_each_index_once([one.index for one in self._records], len(self.rollout_ids), where)
        state, bound = self._learn()
        self._check(state, bound)
        return state

    @property
    def records(self) -> list[RolloutRecord]:
        """The rollouts' records by index."""
        return sorted(self._records, key=lambda record: record.index)

    @abstractmethod
    def _take(self, index: int, result: Any) -> None:
        """Keep what a rollout brought."""

    @abstractmethod
    def _learn(self) -> tuple[State, float]:
        """The state after the update, and how far no weight can have moved from the one before, but for rounding."""

    def _check(self, state: State, bound: float) -> None:
        where, before = {"update": self.update}, self._state.weights
        invariants.weights_are_finite(state.weights, where)
        squares = strip_prefix("cache_", state.optimizer) or strip_prefix("square_", state.optimizer)
        invariants.a_mean_square_is_never_negative(squares, where)
        moved = max(float(np.max(np.abs(state.weights[name] - before[name]))) for name in before)
        largest = max(float(np.max(np.abs(array))) for array in state.weights.values())
        invariants.no_weight_moves_further_than_the_optimizer_can(moved, bound * 1.0001 + largest * _ROUNDING, where)


class ReinforceBatch(Batch):
    """The reinforce preset's: one gradient a rollout, one step."""

    def __init__(self, settings: Settings, state: State) -> None:
        super().__init__(settings, state)
        self._sum = TreeSum(settings.batch_size)
        self._compared = Float64Sum(state.weights) if _is_compared(self.update) else None

    def _take(self, index: int, result: Arrays) -> None:
        self._sum.add(index, result)
        if self._compared:
            self._compared.add(result)

    def _total(self) -> Arrays:
        total: Arrays = self._sum.total()
        return total

    def _learn(self) -> tuple[State, float]:
        settings, state, gradient = self._settings, self._state, self._total()
        if self._compared:
            invariants.a_sum_agrees_with_float64(self._compared.excess(gradient), {"update": self.update})
        self.gradient_norm = _norm(gradient)
        cache = strip_prefix("cache_", state.optimizer)
        weights, cache = policy.rmsprop(state.weights, cache, gradient, settings.learning_rate, settings.decay_rate)
        bound = policy.largest_rmsprop_step(settings.learning_rate, settings.decay_rate)
        return State(self.update, weights, add_prefix("cache_", cache)), bound


class SpreadSum(Protocol):
    """A sum of gradients that are elsewhere."""

    def add(self, index: int, gradient: Any) -> None:
        """Take one in, or what stands for it."""

    def total(self) -> Arrays | None:
        """The sum, once all are in; None if something of it is lost."""

    def gradients(self) -> Iterator[tuple[int, Arrays | None]]:
        """The gradients themselves, by index; None for one that is lost."""


class Sums(Protocol):
    """Where gradients are added while they are elsewhere."""

    def begin(self, update: int, size: int, like: Arrays) -> SpreadSum | None:
        """A sum of so many gradients, each as large as `like`; None if they do not fit."""


class SpreadBatch(ReinforceBatch):
    """The reinforce preset's on a cluster: gradients stay on its nodes, and their sum comes to the driver."""

    leaves_results = True

    def __init__(self, settings: Settings, state: State, spread: SpreadSum) -> None:
        super().__init__(settings, state)
        self._spread: SpreadSum | None = spread
        self._brought: Arrays | None = None
        self._lost: dict[int, str] = {}  # digests of rollouts that were counted in, and must be played again

    def add(self, result: Any, record: RolloutRecord) -> None:
        """Count one rollout in; one that is played again must be the same."""
        if record.index in self._lost:
            where = {"update": record.update, "index": record.index}
            invariants.a_rollout_done_twice_gives_the_same_bytes(self._lost[record.index], record.digest, where)
        super().add(result, record)

    def missing(self) -> list[RolloutId]:
        """Once all are played: those whose gradient was lost before it was added."""
        if self._spread and not super().missing():
            self._brought = self._spread.total()
            if self._brought is None:
                self._add_them_here(self._spread)
            self._spread = None
        return super().missing()

    def _add_them_here(self, spread: SpreadSum) -> None:
        """As on one machine, from now on: also those that are played again come to the driver."""
        self.leaves_results = False
        for index, gradient in spread.gradients():
            if gradient is None:
                self._forget(index)
            else:
                super()._take(index, gradient)

    def _forget(self, index: int) -> None:
        self._lost |= {record.index: record.digest for record in self._records if record.index == index}
        self._records = [record for record in self._records if record.index != index]

    def _take(self, index: int, result: Any) -> None:
        (self._spread.add if self._spread else super()._take)(index, result)

    def _total(self) -> Arrays:
        return self._brought or super()._total()


class PPOBatch(Batch):
    """The ppo preset's: the rollouts' steps, and many small steps over them."""

    def __init__(self, settings: Settings, state: State) -> None:
        super().__init__(settings, state)
        self._games: dict[int, GameSteps] = {}

    def _take(self, index: int, result: GameSteps) -> None:
        self._games[index] = result

    def _learn(self) -> tuple[State, float]:
        settings, first_weights, first_adam = self._settings, self._state.weights, Adam.of(self._state.optimizer)
        steps = Steps.of([self._games[index] for index in sorted(self._games)], len(first_weights["W1"]))
        inputs = ppo.inputs_in_use(steps, first_adam)
        steps, adam = steps.narrowed(inputs), first_adam.narrowed(inputs)
        weights = gather_rows(first_weights, inputs)
        rate, bonus = (self._scheduled(name) for name in ("learning_rate", "entropy_coef"))
        lengths: list[float] = []
        for number in range(settings.epochs):
            parts = ppo.minibatches(len(steps), settings.minibatch_size, settings.seed, self.update, number)
            invariants.a_pass_uses_each_step_once(parts, len(steps), {"update": self.update, "pass": number})
            for part in parts:
                objective = Objective(steps.chosen(part), settings.clip, bonus, settings.value_coef)
                gradient = objective.gradient(weights)
                self._check_gradient(weights, objective, gradient, {"pass": number, "step": len(lengths)})
                lengths.append(norm(gradient))
                gradient = ppo.clip_by_global_norm(gradient, lengths[-1], settings.max_grad_norm)
                weights, adam = adam.step(weights, gradient, rate)
        self.gradient_norm = math.fsum(lengths) / len(lengths)
        weights = scatter_rows(weights, inputs, first_weights)
        adam = adam.widened(inputs, first_adam)
        cooling = self._temperature(self.update) / self._temperature(self.update + 1)
        moved = len(lengths) * ppo.largest_adam_step(rate)
        moved += abs(cooling - 1.0) * float(np.max(np.abs(weights["W2"])))
        return State(self.update, ppo.scale_logits(weights, cooling), adam.arrays()), moved

    def _temperature(self, update: int) -> float:
        return ppo.linear_schedule(1.0, self._settings.temperature_end, self._settings.anneal_updates, update)

    def _scheduled(self, name: str) -> float:
        first, last = getattr(self._settings, name), getattr(self._settings, f"{name}_end")
        return ppo.linear_schedule(first, last, self._settings.anneal_updates, self.update)

    def _check_gradient(self, weights: Arrays, objective: Objective, gradient: Arrays, of: dict[str, int]) -> None:
        where = {"update": self.update, **of}
        invariants.a_gradient_has_the_shape_of_the_weights(gradient, weights, where)
        invariants.a_gradient_is_finite(gradient, where)
        if not of["step"] and _is_compared(self.update):
            invariants.a_sum_agrees_with_float64(objective.excess(weights, gradient), where)


def new_batch(settings: Settings, state: State, sums: Sums | None = None) -> Batch:
    """An empty batch for the update after a state. With `sums`, gradients are added there where that is possible."""
    if settings.preset != REINFORCE:
        return PPOBatch(settings, state)
    if sums and not _is_compared(state.update + 1):  # the float64 sum needs each gradient, here
        spread = sums.begin(state.update + 1, settings.batch_size, like=state.weights)
        if spread:
            return SpreadBatch(settings, state, spread)
    return ReinforceBatch(settings, state)


def update_alone(settings: Settings, state: State, game: Game) -> tuple[State, Batch]:
    """One update on this process: the same bits, one rollout after the other."""
    batch = new_batch(settings, state)
    for rollout_id in batch.missing():
        batch.add(*batch.task.run(game, state.weights, rollout_id))
    return batch.learn(), batch


def statistics(batch: Batch, earlier_rewards: list[int]) -> dict[str, Any]:
    """What metrics.jsonl says of a batch. `earlier_rewards` are those of the rollouts before it, newest last."""
    records = batch.records
    rewards = [record.reward for record in records]
    last_100 = (earlier_rewards + rewards)[-100:]
    return {
        "update": batch.update,
        "rollouts": len(records),
        "steps": sum(record.steps for record in records),
        "reward_mean": math.fsum(rewards) / len(rewards),
        "reward_min": min(rewards),
        "reward_max": max(rewards),
        "reward_mean_100": math.fsum(last_100) / len(last_100),
        "loss": math.fsum(record.loss for record in records) / len(records),
        "gradient_norm": batch.gradient_norm,
        "points_won": sum(record.points_won for record in records),
        "points_lost": sum(record.points_lost for record in records),
    }


def _is_compared(update: int) -> bool:
    return update % _COMPARED_EVERY == 1


def _norm(gradient: Arrays) -> float:
    return math.sqrt(math.fsum(float(np.sum(np.square(g, dtype=np.float64))) for g in gradient.values()))
