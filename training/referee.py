"""One minibatch of PPO computed again, in another way: dense, in float64, by the formulas as the papers have them.

    gradient_excess(objective, weights, gradient)                  # at most 1 where the gradient is right
    clip_excess(gradient, max_grad_norm, clipped)
    step_excess(clipped, rate, (weights, adam), (new_weights, new_adam))

It shares no code with ppo.py and adam.py, and uses what they must not: BLAS, exponential, NumPy's sums. Nothing of it
is on the way to the weights. Each answer is the largest difference over its bound, which is what rounding to float32
can do, followed through the formulas; where rounding can decide a ReLU or a clipping, the whole term is allowed for.

M steps, D inputs, H hidden units; an `e_` before a name is the bound on its error. Of a sum of n terms in float32, in
any order, that is the sum of magnitudes times n u, u = 2^-24, or times 6 sqrt(n) u for all roundings that do not
conspire (Higham and Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019: but for one in 10^7, where
each rounding is as large as can be; errors seen are a hundredth of it). The factor of 2 in the end leaves room for what
is of second order.
"""

from typing import Any, NamedTuple

import numpy as np

from bitexact.determinism.arrays import Arrays
from training.adam import Adam
from training.ppo import Objective
from training.steps import Steps

_U = 2.0**-24
_TINY = 1e-37  # what numbers below float32's normal ones may be off by, with room
_ROWS = 512  # made dense at a time: 60 MB
_MEAN_DECAY, _SQUARE_DECAY, _EPSILON = 0.9, 0.999, 1e-5  # Adam's, written down once more


class _Sum(NamedTuple):
    """A gradient, and the bound on the error that float32 makes in it: float64, shaped as the weights."""

    value: Arrays
    error: Arrays


def gradient_excess(objective: Objective, weights: Arrays, gradient: Arrays) -> float:
    """The largest error over its bound of a minibatch's gradient: W1 [D, H], W2 [H], V [H]."""
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    total = _Sum({name: np.zeros_like(array) for name, array in exact.items()}, {})
    error = {name: np.zeros_like(array) for name, array in exact.items()}
    for first in range(0, len(objective.steps), _ROWS):
        rows = np.arange(first, min(first + _ROWS, len(objective.steps)))
        part = _differentiate(objective, objective.steps.choose(rows), exact)
        for name in exact:
            total.value[name] += part.value[name]
            error[name] += part.error[name]
    return _largest(gradient, total.value, error)


def _differentiate(objective: Objective, steps: Steps, weights: Arrays) -> _Sum:
    """What some of the minibatch's steps add to the gradient of its mean."""
    x, count = steps.observations.toarray().astype(np.float64), len(objective.steps)
    size, terms = np.abs(x), np.bincount(objective.steps.observations.indices, minlength=x.shape[1])[:, None]
    w1, w2, v = weights["W1"], weights["W2"], weights["V"]
    before = x @ w1
    e_hidden = _e_of_sum(size.sum(axis=1, keepdims=True)) * (size @ np.abs(w1))
    hidden = np.maximum(before, 0.0)
    logits, values = hidden @ w2, hidden @ v
    by_logit, e_by_logit = _by_logit(objective, steps, logits, e_hidden @ np.abs(w2))
    by_value = objective.value_coef * (steps.value_targets - values)
    e_by_value = objective.value_coef * (e_hidden @ np.abs(v))
    dlogits, dvalues = by_logit[:, None] / count, by_value[:, None] / count
    e_dlogits = e_by_logit[:, None] / count + _U * np.abs(dlogits)
    e_dvalues = e_by_value[:, None] / count + _U * np.abs(dvalues)
    passes = np.where(before > 0.0, 1.0, 0.0)
    dhidden = dlogits * w2 + dvalues * v
    e_dhidden = e_dlogits * np.abs(w2) + e_dvalues * np.abs(v)
    e_dhidden += 2.0 * _U * (np.abs(dlogits * w2) + np.abs(dvalues * v))
    e_dhidden = np.where(np.abs(before) <= e_hidden, np.abs(dhidden) + e_dhidden, passes * e_dhidden)
    dhidden = passes * dhidden
    value = {"W1": x.T @ dhidden, "W2": (hidden * dlogits).sum(axis=0), "V": (hidden * dvalues).sum(axis=0)}
    return _Sum(
        value,
        {
            "W1": size.T @ e_dhidden + _e_of_sum(terms) * (size.T @ np.abs(dhidden)),
            "W2": _e_of_products(hidden, dlogits, e_hidden, e_dlogits, count),
            "V": _e_of_products(hidden, dvalues, e_hidden, e_dvalues, count),
        },
    )


def _by_logit(
    objective: Objective, steps: Steps, logits: np.ndarray, e_logits: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The derivative of surrogate and entropy by each step's logit, and its error, float64 [M].

    By the logit, ratio (up - p) grows at most by 1.25 ratio, and logit p (1 - p) by (1 + |logit|) / 4.
    """
    with np.errstate(over="ignore"):  # far from 0, an infinite exponential is as good as a large one
        p = 1.0 / (1.0 + np.exp(-logits))
    gain, old = steps.advantages, np.where(steps.ups, steps.probabilities, 1.0 - steps.probabilities)
    ratio = np.where(steps.ups, p, 1.0 - p) / old
    surrogate = gain * ratio * np.where(steps.ups, 1.0 - p, -p)
    limit = np.where(gain > 0.0, 1.0 + objective.clip, 1.0 - objective.clip)
    is_clipped = np.where(gain > 0.0, ratio > limit, ratio < limit)
    e_ratio = 2.0 * ratio * (e_logits + 1e-12)
    error = 1.25 * np.abs(gain) * e_ratio + objective.entropy_coef * 0.25 * (1.0 + np.abs(logits)) * e_logits
    error += np.where(np.abs(ratio - limit) <= e_ratio, np.abs(surrogate), 0.0)
    entropy = objective.entropy_coef * logits * p * (1.0 - p)
    return np.where(is_clipped, 0.0, surrogate) - entropy, error


def _e_of_products(a: np.ndarray, b: np.ndarray, e_a: np.ndarray, e_b: np.ndarray, count: int) -> np.ndarray:
    """The error of a column's part of a sum of `count` products."""
    error: np.ndarray = (np.abs(a) * e_b + e_a * np.abs(b) + (_e_of_sum(count) + _U) * np.abs(a * b)).sum(axis=0)
    return error


def clip_excess(gradient: Arrays, max_grad_norm: float, clipped: Arrays) -> float:
    """The largest error over its bound of a gradient that was shortened to a length, if it was longer."""
    exact = {name: array.astype(np.float64) for name, array in gradient.items()}
    length = np.sqrt(np.sum([np.sum(array * array) for array in exact.values()]))
    exact = {name: array * min(1.0, max_grad_norm / max(length, _TINY)) for name, array in exact.items()}
    e_length = _e_of_sum(max(len(array) for array in exact.values()))  # its longest sum is over a column
    return _largest(clipped, exact, {name: (e_length + _U) * np.abs(array) for name, array in exact.items()})


def step_excess(
    gradient: Arrays, learning_rate: float, before: tuple[Arrays, Adam], after: tuple[Arrays, Adam]
) -> float:
    """The largest error over its bound of one step of Adam: of weights, running means, and the decays' powers."""
    (weights, adam), (new_weights, new_adam) = before, after
    powers = adam.powers * np.array([_MEAN_DECAY, _SQUARE_DECAY])
    worst = [_largest({"powers": new_adam.powers}, {"powers": powers}, {"powers": 2.0**-50 * powers})]
    mean_factor, square_factor = 1.0 / (1.0 - powers)
    for name, array in gradient.items():
        g = array.astype(np.float64)
        kept, new = _MEAN_DECAY * adam.mean[name].astype(np.float64), (1.0 - _MEAN_DECAY) * g
        square = _SQUARE_DECAY * adam.square[name].astype(np.float64) + (1.0 - _SQUARE_DECAY) * g * g
        mean, e_mean = kept + new, 4.0 * _U * (np.abs(kept) + np.abs(new))
        pace = learning_rate * mean_factor / (np.sqrt(square * square_factor) + _EPSILON)
        moved = weights[name].astype(np.float64) + pace * mean
        e_moved = pace * (e_mean + 8.0 * _U * np.abs(mean)) + _U * (np.abs(weights[name]) + np.abs(pace * mean))
        found = {"mean": new_adam.mean[name], "square": new_adam.square[name], "weights": new_weights[name]}
        exact = {"mean": mean, "square": square, "weights": moved}
        worst.append(_largest(found, exact, {"mean": e_mean, "square": 6.0 * _U * square, "weights": e_moved}))
    return float(np.max(worst))


def _e_of_sum(terms: Any) -> Any:
    """The error of a float32 sum of so many terms, a number or an array of them, as a part of their magnitudes' sum."""
    return _U * np.minimum(terms + 1.0, 6.0 * np.sqrt(terms + 1.0))


def _largest(found: Arrays, exact: Arrays, error: Arrays) -> float:
    """The largest difference over twice its bound; NaN if there is one."""
    excess = [np.max(np.abs(found[name] - exact[name]) / (2.0 * error[name] + _TINY)) for name in exact]
    return float(np.max(excess))
