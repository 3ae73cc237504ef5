"""Adam, in operations that IEEE 754 fixes (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015).

    adam = Adam.initial(weights)
    weights, adam = adam.step(weights, gradient, learning_rate=2e-3)
    adam = Adam.from_arrays(adam.arrays(), weights)       # as a checkpoint keeps it

Weights and gradients are dictionaries of float32 arrays with the same names and shapes; one of them, "W1", has a row
for each input of the network. A step goes uphill.
"""

import math
from dataclasses import dataclass

import numpy as np

from bitexact.determinism.arrays import Arrays, add_prefix, zeros_like

MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-5
_MEAN, _SQUARE, _POWERS = "mean_", "square_", "powers"  # names of its arrays in checkpoints and digests


@dataclass(frozen=True)
class Adam:
    """Running means of the gradient and of its square, and what they lack: the decays to the power of the steps."""

    mean: Arrays
    square: Arrays
    powers: np.ndarray  # float64 [2], running products: a power taken anew would be libm's

    @classmethod
    def initial(cls, weights: Arrays) -> "Adam":
        """Before the first step."""
        return cls(zeros_like(weights), zeros_like(weights), np.ones(2))

    @classmethod
    def from_arrays(cls, arrays: Arrays, weights: Arrays) -> "Adam":
        """The optimizer of some weights, from what `arrays` gave. Raises KeyError for an array that is not there."""
        mean = {name: arrays[_MEAN + name] for name in weights}
        return cls(mean, {name: arrays[_SQUARE + name] for name in weights}, arrays[_POWERS])

    def arrays(self) -> Arrays:
        """All of it under one name each, for checkpoints and digests."""
        return add_prefix(_MEAN, self.mean) | add_prefix(_SQUARE, self.square) | {_POWERS: self.powers}

    def narrow(self, inputs: np.ndarray) -> "Adam":
        """The optimizer of a network that has some of the inputs alone, int64, ascending."""
        return Adam(gather_rows(self.mean, inputs), gather_rows(self.square, inputs), self.powers)

    def widen(self, inputs: np.ndarray, whole: "Adam") -> "Adam":
        """The optimizer of the whole network, from that of some inputs; the other inputs' rows are those of `whole`."""
        mean, square = scatter_rows(self.mean, inputs, whole.mean), scatter_rows(self.square, inputs, whole.square)
        return Adam(mean, square, self.powers)

    def step(self, weights: Arrays, gradient: Arrays, learning_rate: float) -> tuple[Arrays, "Adam"]:
        """One step uphill: the new weights, and the optimizer after it.

        m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;  w += rate (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + 1e-5)
        """
        powers = self.powers * np.array([MEAN_DECAY, SQUARE_DECAY])
        mean_factor, square_factor = (np.float32(1.0 / (1.0 - power)) for power in powers.tolist())
        new_weights, mean, square = {}, {}, {}
        for name, g in gradient.items():
            m = mean[name] = _move_towards(self.mean[name], g, MEAN_DECAY)
            s = square[name] = _move_towards(self.square[name], g * g, SQUARE_DECAY)
            root = np.sqrt(s * square_factor) + np.float32(EPSILON)
            new_weights[name] = weights[name] + np.float32(learning_rate) * (m * mean_factor) / root
        return new_weights, Adam(mean, square, powers)


def largest_step(learning_rate: float) -> float:
    """No weight moves further in one step, whatever came before: |mean| / sqrt(square), both corrected.

    By Cauchy and Schwarz it is at most the root of the sum of (1 - b1)^2 b1^2k / ((1 - b2) b2^k) over the steps k, and
    the correction's factor sqrt(1 - b2^t) / (1 - b1^t) is at most 1 / (1 - b1) times sqrt(1 - b2), at the first step,
    and below 1 / (1 - b1^t) after it; so (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)) bounds all.
    """
    b1, b2 = MEAN_DECAY, SQUARE_DECAY
    return learning_rate * (1.0 - b1) / math.sqrt((1.0 - b2) * (1.0 - b1 * b1 / b2))


def gather_rows(arrays: Arrays, inputs: np.ndarray) -> Arrays:
    """The same arrays, "W1" with the rows of some inputs alone, int64, ascending."""
    return arrays | {"W1": arrays["W1"][inputs]}


def scatter_rows(arrays: Arrays, inputs: np.ndarray, whole: Arrays) -> Arrays:
    """The same arrays, "W1" with a row for each input: those of `inputs` as they are, the others from `whole`."""
    w1 = whole["W1"].copy()
    w1[inputs] = arrays["W1"]
    return arrays | {"W1": w1}


def _move_towards(mean: np.ndarray, value: np.ndarray, decay: float) -> np.ndarray:
    return np.float32(decay) * mean + np.float32(1.0 - decay) * value
