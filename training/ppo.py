"""PPO: many small clipped steps over one batch of games, in operations that IEEE 754 fixes.

Schulman et al., "Proximal Policy Optimization Algorithms" (2017), with advantages by generalised estimation
(returns.py) and Adam (adam.py). Neither exponential nor logarithm is needed: the ratio of a step's probabilities is
p_new / p_old, and the entropy of a sigmoid has the derivative -logit p (1 - p) by its logit. Here are its settings and
what it makes of a minibatch; ppo_batch.py makes the steps.

Weights are those of policy.py, and "V" [H], which says from the hidden units what a state is worth. Below, M is the
number of steps of a minibatch, D of inputs, H of hidden units.
"""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import numpy as np

from bitexact.cli.ranges import POSITIVE, real
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.exact_math import dot, sigmoids, sum_rows
from training.adam import Adam
from training.base_settings import BaseSettings, Count, Part, Rate
from training.steps import Steps

_LARGEST_FACTOR = 1000.0  # float32 holds what it multiplies, and what it divides
_Factor = Annotated[float, real(0.0, _LARGEST_FACTOR)]


@dataclass(frozen=True)
class PPOSettings(BaseSettings):
    """What only PPO needs to be told."""

    learning_rate_end: Rate = 1e-4
    """Its step size in the end (ppo)."""
    entropy_coef: _Factor = 0.01
    """What a policy is worth for not being sure, at first (ppo). Higher: it explores more, and plays worse."""
    entropy_coef_end: _Factor = 0.0005
    """The same in the end (ppo)."""
    temperature_end: Annotated[float, real(1.0 / _LARGEST_FACTOR, _LARGEST_FACTOR)] = 0.25
    """The logits' temperature in the end, 1 at first (ppo). Lower: actions are drawn less at random."""
    anneal_updates: Count = 100
    """Updates over which all three go from the one to the other, in a straight line (ppo)."""
    epochs: Count = 4
    """How often each batch is learned from (ppo)."""
    minibatch_size: Count = 512
    """Steps of games for one step of the optimizer, about (ppo)."""
    clip: Annotated[float, POSITIVE] = 0.2
    """How far an action's probability may move in an update before it counts no more, as a part of it (ppo)."""
    gae_lambda: Part = 0.95
    """How much advantages trust rewards to come over the value head: 1 rewards alone, 0 the next step's (ppo)."""
    value_coef: _Factor = 0.5
    """The weight of the value head's error (ppo)."""
    max_grad_norm: Annotated[float, POSITIVE] = 0.5
    """A minibatch's gradient is shortened to this length (ppo)."""


class _Derivatives(NamedTuple):
    """What a gradient is summed from, float32: hidden units, and the objective's derivatives."""

    hidden: np.ndarray  # [M, H]
    dlogits: np.ndarray  # [M, 1]
    dvalues: np.ndarray  # [M, 1]
    dhidden: np.ndarray  # [M, H]


@dataclass(frozen=True)
class Objective:
    """What a minibatch is to make larger: the mean over its steps of

        min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A) + entropy_coef H(p) - value_coef (v - value_target)^2 / 2

    with ratio = p_new(action) / p_old(action) and H the entropy of p_new.
    """

    steps: Steps
    clip: float
    entropy_coef: float
    value_coef: float

    def gradient(self, weights: Arrays) -> Arrays:
        """The objective's gradient by the weights, float32, shaped as they are; to be climbed."""
        found = self._differentiate(weights)
        return {
            "W1": self.steps.observations.T @ found.dhidden,  # SciPy multiplies row by row, in ascending order
            "W2": sum_rows(found.hidden * found.dlogits),
            "V": sum_rows(found.hidden * found.dvalues),
        }

    def _differentiate(self, weights: Arrays) -> _Derivatives:
        steps, ups = self.steps, self.steps.ups
        hidden = steps.observations @ weights["W1"]  # row by row, in ascending order
        np.maximum(hidden, 0.0, out=hidden)
        logits, values = dot(hidden, weights["W2"]), dot(hidden, weights["V"])
        p, gain = sigmoids(logits), steps.advantages
        ratio = np.where(ups, p, 1.0 - p) / np.where(ups, steps.probabilities, 1.0 - steps.probabilities)
        is_clipped = np.where(gain > 0.0, ratio > 1.0 + self.clip, ratio < 1.0 - self.clip)
        surrogate = np.where(is_clipped, 0.0, gain * ratio * (ups - p))
        by_logit = surrogate - self.entropy_coef * logits * p * (1.0 - p)
        by_value = self.value_coef * (steps.value_targets - values)
        columns = np.stack([by_logit, by_value])[:, :, None] / len(steps)  # the mean's derivatives, [2, M, 1]
        dlogits, dvalues = columns.astype(np.float32)
        dhidden = dlogits * weights["W2"] + dvalues * weights["V"]
        dhidden *= hidden > 0.0
        return _Derivatives(hidden, dlogits, dvalues, dhidden)


def find_inputs_in_use(steps: Steps, optimizer: Adam) -> np.ndarray:
    """The numbers of all inputs whose weights may move, ascending: those that a step has, or had in an earlier batch.

    Of the others, gradient and running means are 0, and so is the step: four of ten pixels never change in a game. To
    leave them out saves their arithmetic and changes no bit of what comes out.
    """
    in_use: np.ndarray = np.any((optimizer.mean["W1"] != 0.0) | (optimizer.square["W1"] != 0.0), axis=1)
    in_use[steps.observations.indices] = True
    return in_use.nonzero()[0]


def clip_by_global_norm(gradient: Arrays, length: float, longest: float) -> Arrays:
    """A gradient of a length, shortened where it is longer than it may be."""
    if length <= longest:
        return gradient
    factor = np.float32(longest / length)
    return {name: g * factor for name, g in gradient.items()}


def linear_schedule(first: float, last: float, over_updates: int, update: int) -> float:
    """A setting that goes from `first`, at update 1, to `last`, after `over_updates`, in a straight line, and stays."""
    done = min(update - 1, over_updates) / over_updates if over_updates else 1.0
    return first + (last - first) * done


def scale_logits(weights: Arrays, factor: float) -> Arrays:
    """The same policy with its logits `factor` times as large: above 1, its actions are less random."""
    return weights | {"W2": weights["W2"] * np.float32(factor)}
