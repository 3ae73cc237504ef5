"""PPO's batch: the rollouts' steps, and many small clipped steps of Adam over them.

The driver makes all steps itself: no half-done epoch is left behind by an actor that dies.
"""

import math

import numpy as np

import invariants
from bitexact.determinism.arrays import Arrays, copies
from bitexact.determinism.exact_math import norm
from bitexact.storage.state import State
from training import adam, referee
from training.adam import Adam, gather_rows, scatter_rows
from training.batch import Batch, Learned, is_compared
from training.ppo import (
    Objective,
    PPOSettings,
    clip_by_global_norm,
    find_inputs_in_use,
    linear_schedule,
    scale_logits,
)
from training.rollout_task import RolloutTask
from training.steps import GameSteps, Steps, minibatches


class PPOBatch(Batch):
    """The rollouts' steps, and many small steps of the optimizer over them."""

    def __init__(self, settings: PPOSettings, state: State, task: RolloutTask) -> None:
        super().__init__(settings, state, task)
        self._settings = settings
        self._games: dict[int, GameSteps] = {}
        self._rate = self._anneal(settings.learning_rate, settings.learning_rate_end)
        self._entropy_coef = self._anneal(settings.entropy_coef, settings.entropy_coef_end)

    def _take(self, index: int, result: GameSteps) -> None:
        self._games[index] = result

    def _learn(self) -> Learned:
        weights, optimizer = self._state.weights, Adam.from_arrays(self._state.optimizer, self._state.weights)
        steps = Steps.of([self._games[index] for index in sorted(self._games)], len(weights["W1"]))
        inputs = find_inputs_in_use(steps, optimizer)
        narrow, narrow_optimizer = gather_rows(weights, inputs), optimizer.narrow(inputs)
        count = self._climb(steps.narrow(inputs), narrow, narrow_optimizer)
        weights, optimizer = scatter_rows(narrow, inputs, weights), narrow_optimizer.widen(inputs, optimizer)
        cooling = self._temperature(self.update) / self._temperature(self.update + 1)
        largest_move = count * adam.largest_step(self._rate)
        largest_move += abs(cooling - 1.0) * float(np.max(np.abs(weights["W2"])))
        return Learned(scale_logits(weights, cooling), optimizer, largest_move)

    def _climb(self, steps: Steps, weights: Arrays, optimizer: Adam) -> int:
        """The epochs: weights and optimizer take all minibatches' steps, in place. How many those were."""
        settings = self._settings
        norms: list[float] = []
        for epoch in range(settings.epochs):
            parts = minibatches(len(steps), settings.minibatch_size, settings.seed, self.update, epoch)
            invariants.a_pass_uses_each_step_once(parts, len(steps), {"update": self.update, "pass": epoch})
            last = settings.epochs * len(parts) - 1
            for rows in parts:
                objective = Objective(steps.choose(rows), settings.clip, self._entropy_coef, settings.value_coef)
                where = {"update": self.update, "pass": epoch, "step": len(norms)}
                is_refereed = is_compared(self.update) and len(norms) == last  # by then, ratios are clipped
                norms.append(self._step(objective, weights, optimizer, where, is_refereed))
                if len(norms) % adam.SETTLED_EVERY == 0:
                    optimizer.settle()
        optimizer.settle()
        self.gradient_norm = math.fsum(norms) / len(norms)
        return len(norms)

    def _step(
        self, objective: Objective, weights: Arrays, optimizer: Adam, where: dict[str, int], is_refereed: bool
    ) -> float:
        """One minibatch: weights and optimizer make a step, in place. The length of its gradient."""
        gradient = objective.gradient(weights)
        invariants.a_gradient_has_the_shape_of_the_weights(gradient, weights, where)
        length, longest = norm(gradient), self._settings.max_grad_norm
        invariants.a_gradient_is_finite(
            {"length": np.array(length)}, where
        )  # it is not, where one of its numbers is not
        clipped = clip_by_global_norm(gradient, length, longest)
        before = (copies(weights), optimizer.copy()) if is_refereed else None
        optimizer.step(weights, clipped, self._rate)
        if before:
            excess = referee.gradient_excess(objective, before[0], gradient)
            invariants.a_gradient_agrees_with_float64(excess, where)
            excess = referee.step_excess(clipped, self._rate, before, (weights, optimizer))
            excess = max(excess, referee.clip_excess(gradient, longest, clipped))
            invariants.a_step_agrees_with_float64(excess, where)
        return length

    def _temperature(self, update: int) -> float:
        return linear_schedule(1.0, self._settings.temperature_end, self._settings.anneal_updates, update)

    def _anneal(self, first: float, last: float) -> float:
        return linear_schedule(first, last, self._settings.anneal_updates, self.update)
