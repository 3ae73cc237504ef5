"""Many small steps over one batch of games: proximal policy optimisation, in operations that IEEE 754 fixes.

Schulman et al., "Proximal Policy Optimization Algorithms" (2017), with advantages by generalised estimation (Schulman
et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016) and Adam (Kingma and Ba,
"Adam: A Method for Stochastic Optimization", 2015). Neither exponential nor logarithm is needed: the ratio of a step's
probabilities is p_new / p_old, and the entropy of a sigmoid has the derivative -logit p (1 - p) by its logit.

Weights are those of policy.py, and "V" [H], which says from the hidden units what a state is worth. Below, T is the
number of steps of a game, M of a minibatch, D of inputs, H of hidden units.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from bitexact.determinism.arrays import Arrays, add_prefix, strip_prefix, zeros_like
from bitexact.determinism.exact_math import dot, sigmoids, standardise
from bitexact.determinism.streams import Purpose, Stream

ADAM_MEAN_DECAY, ADAM_SQUARE_DECAY, ADAM_EPSILON = 0.9, 0.999, 1e-5


@dataclass(frozen=True)
class GameSteps:
    """One game of T steps as it travels from an actor: some 270 bytes a step."""

    inputs: np.ndarray  # uint16, the indices of all steps' inputs that are not 0
    signs: np.ndarray  # int8, +1 or -1 each
    counts: np.ndarray  # uint16 [T], how many of them belong to each step
    actions: np.ndarray  # bool [T], whether it went up
    probabilities: np.ndarray  # float64 [T], of "up" when they were played
    advantages: np.ndarray  # float64 [T]
    worth: np.ndarray  # float64 [T], what each state turned out to be worth

    @classmethod
    def of(cls, observations: sparse.csr_array, *of_each: np.ndarray) -> "GameSteps":
        """The steps of a game whose observations [T, D] are a matrix; then the other fields, in order."""
        inputs, signs = observations.indices.astype(np.uint16), observations.data.astype(np.int8)
        return cls(inputs, signs, np.diff(observations.indptr).astype(np.uint16), *of_each)


@dataclass(frozen=True)
class Steps:
    """Steps to learn from."""

    observations: sparse.csr_array  # [M, D], float32 of +1 and -1
    ups: np.ndarray  # bool [M], the actions
    probabilities: np.ndarray  # float64 [M], of "up" when they were played
    advantages: np.ndarray  # float64 [M]
    worth: np.ndarray  # float64 [M], what each state turned out to be worth

    @classmethod
    def of(cls, games: Sequence[GameSteps], inputs: int) -> "Steps":
        """The steps of some games, one after the other, their advantages standardised over all of them."""
        ends = np.cumsum(np.concatenate([[0], *(game.counts for game in games)]), dtype=np.int32)
        signs = np.concatenate([game.signs for game in games]).astype(np.float32)
        indices = np.concatenate([game.inputs for game in games]).astype(np.int32)
        return cls(
            observations=sparse.csr_array((signs, indices, ends), shape=(len(ends) - 1, inputs)),
            ups=np.concatenate([game.actions for game in games]),
            probabilities=np.concatenate([game.probabilities for game in games]),
            advantages=standardise(np.concatenate([game.advantages for game in games]).tolist()),
            worth=np.concatenate([game.worth for game in games]),
        )

    def __len__(self) -> int:
        return len(self.ups)

    def narrowed(self, inputs: np.ndarray) -> "Steps":
        """The same, of some inputs alone, by their numbers, ascending: all that any step has."""
        whole = self.observations
        numbers = np.searchsorted(inputs, whole.indices).astype(np.int32)
        narrow = sparse.csr_array((whole.data, numbers, whole.indptr), shape=(len(self), len(inputs)))
        return dataclasses.replace(self, observations=narrow)

    def chosen(self, rows: np.ndarray) -> "Steps":
        """Some of them, by their numbers, int64 [M]."""
        return Steps(
            self.observations[rows], self.ups[rows], self.probabilities[rows], self.advantages[rows], self.worth[rows]
        )


def inputs_in_use(steps: Steps, adam: "Adam") -> np.ndarray:
    """The numbers of all inputs whose weights may move, ascending: those that a step has, or had in an earlier batch.

    Of the others, gradient and running means are 0, and so is the step: four of ten pixels never change in a game. To
    leave them out saves their arithmetic and changes no bit of what comes out.
    """
    in_use: np.ndarray = np.any((adam.mean["W1"] != 0.0) | (adam.square["W1"] != 0.0), axis=1)
    in_use[steps.observations.indices] = True
    return in_use.nonzero()[0]


def gather_rows(arrays: Arrays, inputs: np.ndarray) -> Arrays:
    """The same arrays, "W1" with the rows of some inputs alone."""
    return arrays | {"W1": arrays["W1"][inputs]}


def scatter_rows(arrays: Arrays, inputs: np.ndarray, whole: Arrays) -> Arrays:
    """`gather_rows` undone: the other rows of "W1" are those of `whole`."""
    w1 = whole["W1"].copy()
    w1[inputs] = arrays["W1"]
    return arrays | {"W1": w1}


def minibatches(count: int, size: int, seed: int, update: int, number: int) -> list[np.ndarray]:
    """The steps 0 to count - 1 in an order of their own for pass `number`, in parts of about `size`, int64 each.

    Each part is sorted: what it holds decides, and memory is read in order.
    """
    order = Stream(seed, Purpose.MINIBATCHES, update, number).order(count)
    return [np.sort(part) for part in np.array_split(order, max(1, round(count / size)))]


def advantages(
    rewards: Sequence[float], values: Sequence[float], discount: float, gae_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """How much better each step went than expected, and what its state was worth: float64 [T] each.

    delta_t = r_t + discount v_{t+1} - v_t;  A_t = delta_t + discount gae_lambda A_{t+1};  worth_t = A_t + v_t.
    A point ends what came before it: after one, and at the game's end, v and A are zero.
    """
    result = [0.0] * len(rewards)
    next_value = next_advantage = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if rewards[t] != 0:
            next_value = next_advantage = 0.0
        delta = rewards[t] + discount * next_value - values[t]
        next_advantage = result[t] = delta + discount * gae_lambda * next_advantage
        next_value = values[t]
    found = np.array(result)
    return found, found + np.array(values)


class _Terms(NamedTuple):
    """What a gradient is summed from, float32: hidden units [M, H], and the objective's derivatives."""

    hidden: np.ndarray
    by_logit: np.ndarray  # [M, 1]
    by_value: np.ndarray  # [M, 1]
    by_hidden: np.ndarray  # [M, H]


@dataclass(frozen=True)
class Objective:
    """What a minibatch is to make larger: the mean over its steps of

        min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A) + entropy_coef H(p) - value_coef (v - worth)^2 / 2

    with ratio = p_new(action) / p_old(action) and H the entropy of p_new.
    """

    steps: Steps
    clip: float
    entropy_coef: float
    value_coef: float

    def gradient(self, weights: Arrays) -> Arrays:
        """Its gradient by the weights, to be climbed."""
        terms = self._terms(weights)
        return {
            "W1": self.steps.observations.T @ terms.by_hidden,  # SciPy multiplies row by row, in ascending order
            "W2": np.add.reduce(terms.hidden * terms.by_logit, axis=0),
            "V": np.add.reduce(terms.hidden * terms.by_value, axis=0),
        }

    def excess(self, weights: Arrays, gradient: Arrays) -> float:
        """The largest error of the gradient's W1 against a float64 sum of the same terms, over its bound: at most 1.

        The bound is that of `tree_sum.Float64Sum`.
        """
        by_hidden = self._terms(weights).by_hidden.astype(np.float64)
        transposed = self.steps.observations.T.astype(np.float64)
        bound = 2.0 * len(self.steps) * 2.0**-24 * (abs(transposed) @ np.abs(by_hidden)) + np.finfo(np.float64).tiny
        return float(np.max(np.abs(gradient["W1"] - transposed @ by_hidden) / bound))

    def _terms(self, weights: Arrays) -> _Terms:
        steps, ups = self.steps, self.steps.ups
        hidden = steps.observations @ weights["W1"]  # row by row, in ascending order
        np.maximum(hidden, 0.0, out=hidden)
        logits, values = dot(hidden, weights["W2"]), dot(hidden, weights["V"])
        p, gain = sigmoids(logits), steps.advantages
        ratio = np.where(ups, p, 1.0 - p) / np.where(ups, steps.probabilities, 1.0 - steps.probabilities)
        is_clipped = np.where(gain > 0.0, ratio > 1.0 + self.clip, ratio < 1.0 - self.clip)
        by_ratio = np.where(is_clipped, 0.0, gain * ratio * (ups - p))
        by_logit = by_ratio - self.entropy_coef * logits * p * (1.0 - p)
        by_value = self.value_coef * (steps.worth - values)
        columns = np.stack([by_logit, by_value])[:, :, None] / len(steps)  # the mean's derivatives, [2, M, 1]
        of_logit, of_value = columns.astype(np.float32)
        by_hidden = of_logit * weights["W2"] + of_value * weights["V"]
        by_hidden *= hidden > 0.0
        return _Terms(hidden, of_logit, of_value, by_hidden)


def clip_by_global_norm(gradient: Arrays, length: float, longest: float) -> Arrays:
    """A gradient of a length, shortened where it is longer than it may be."""
    if length <= longest:
        return gradient
    factor = np.float32(longest / length)
    return {name: g * factor for name, g in gradient.items()}


@dataclass(frozen=True)
class Adam:
    """Its running means of the gradient and of its square, and what they lack: the decays to the power of the steps."""

    mean: Arrays
    square: Arrays
    powers: np.ndarray  # float64 [2], running products: a power taken anew would be libm's

    @classmethod
    def initial(cls, weights: Arrays) -> "Adam":
        """Before the first step."""
        return cls(zeros_like(weights), zeros_like(weights), np.ones(2))

    def arrays(self) -> Arrays:
        """Its state, for checkpoints and digests."""
        return add_prefix("mean_", self.mean) | add_prefix("square_", self.square) | {"powers": self.powers}

    @classmethod
    def of(cls, arrays: Arrays) -> "Adam":
        """The reverse of `arrays`."""
        return cls(strip_prefix("mean_", arrays), strip_prefix("square_", arrays), arrays["powers"])

    def narrowed(self, inputs: np.ndarray) -> "Adam":
        """The same, of some inputs alone."""
        return Adam(gather_rows(self.mean, inputs), gather_rows(self.square, inputs), self.powers)

    def widened(self, inputs: np.ndarray, whole: "Adam") -> "Adam":
        """The reverse, the other inputs' as they were."""
        mean, square = scatter_rows(self.mean, inputs, whole.mean), scatter_rows(self.square, inputs, whole.square)
        return Adam(mean, square, self.powers)

    def step(self, weights: Arrays, gradient: Arrays, learning_rate: float) -> tuple[Arrays, "Adam"]:
        """One step uphill: the new weights, and the optimizer after it."""
        powers = self.powers * np.array([ADAM_MEAN_DECAY, ADAM_SQUARE_DECAY])
        by_mean, by_square = (np.float32(1.0 / (1.0 - power)) for power in powers.tolist())
        new_weights, mean, square = {}, {}, {}
        for name, g in gradient.items():
            m = mean[name] = _towards(self.mean[name], g, ADAM_MEAN_DECAY)
            s = square[name] = _towards(self.square[name], g * g, ADAM_SQUARE_DECAY)
            root = np.sqrt(s * by_square) + np.float32(ADAM_EPSILON)
            new_weights[name] = weights[name] + np.float32(learning_rate) * (m * by_mean) / root
        return new_weights, Adam(mean, square, powers)


def largest_adam_step(learning_rate: float) -> float:
    """No weight moves further in one step, whatever came before: |mean| / sqrt(square), both corrected.

    By Cauchy and Schwarz it is at most the root of the sum of (1 - b1)^2 b1^2k / ((1 - b2) b2^k) over the steps k, and
    the correction's factor sqrt(1 - b2^t) / (1 - b1^t) is at most 1 / (1 - b1) times sqrt(1 - b2), at the first step,
    and below 1 / (1 - b1^t) after it; so (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)) bounds all.
    """
    b1, b2 = ADAM_MEAN_DECAY, ADAM_SQUARE_DECAY
    return learning_rate * (1.0 - b1) / math.sqrt((1.0 - b2) * (1.0 - b1 * b1 / b2))


def linear_schedule(first: float, last: float, over_updates: int, update: int) -> float:
    """A setting that goes from `first`, at update 1, to `last`, after `over_updates`, in a straight line, and stays."""
    done = min(update - 1, over_updates) / over_updates if over_updates else 1.0
    return first + (last - first) * done


def scale_logits(weights: Arrays, cooling: float) -> Arrays:
    """The same policy at a lower temperature: its logits `cooling` times as large, its actions less random."""
    return weights | {"W2": weights["W2"] * np.float32(cooling)}


def _towards(mean: np.ndarray, value: np.ndarray, decay: float) -> np.ndarray:
    return np.float32(decay) * mean + np.float32(1.0 - decay) * value
