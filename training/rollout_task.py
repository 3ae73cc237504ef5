"""What is done for one rollout, as an object: actors, replay, tests and benchmarks call the same `run`.

    task = task_of(settings)
    result, record = task.run(Pong(), weights, RolloutId(seed=0, update=1, index=0))

A task holds the settings that a rollout depends on and nothing that a rollout could change, so `run` is a pure
function: the same weights and name give the same bytes anywhere, whatever was run before. None of it needs Ray.
"""

from dataclasses import dataclass

import invariants
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.exact_math import dot
from pong.play import Game, RolloutId, play
from training import reinforce
from training.returns import estimate_advantages
from training.rollout_record import RolloutRecord, record_rollout
from training.settings import REINFORCE, Settings
from training.steps import GameSteps


@dataclass(frozen=True)
class GradientTask:
    """REINFORCE's: play a game, and find the gradient of its steps' log-probabilities times standardised returns."""

    discount: float

    def run(self, game: Game, weights: Arrays, rollout_id: RolloutId) -> tuple[Arrays, RolloutRecord]:
        """The gradient, shaped as the weights, and the record. Raises PropertyFailed."""
        trajectory = play(game, weights, rollout_id)
        gradient, advantages = reinforce.differentiate(weights, trajectory, self.discount)
        record = record_rollout(rollout_id, weights, trajectory, advantages, gradient)
        invariants.a_gradient_has_the_shape_of_the_weights(gradient, weights, rollout_id.details)
        invariants.a_gradient_is_finite(gradient, rollout_id.details)
        return gradient, record


@dataclass(frozen=True)
class StepsTask:
    """PPO's: play a game, and send its steps, each with how much better it went than expected."""

    discount: float
    gae_lambda: float

    def run(self, game: Game, weights: Arrays, rollout_id: RolloutId) -> tuple[GameSteps, RolloutRecord]:
        """The steps and the record. Raises PropertyFailed."""
        trajectory = play(game, weights, rollout_id)
        rewards, values = trajectory.rewards.tolist(), dot(trajectory.hidden, weights["V"]).tolist()
        advantages, value_targets = estimate_advantages(rewards, values, self.discount, self.gae_lambda)
        steps = GameSteps.of(trajectory, advantages, value_targets)
        return steps, record_rollout(rollout_id, weights, trajectory, advantages, steps.arrays())


RolloutTask = GradientTask | StepsTask


def task_of(settings: Settings) -> RolloutTask:
    """What a rollout of a run with these settings does."""
    if settings.preset == REINFORCE:
        return GradientTask(settings.discount)
    return StepsTask(settings.discount, settings.gae_lambda)
