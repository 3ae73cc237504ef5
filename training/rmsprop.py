"""RMSProp, in operations that IEEE 754 fixes (Hinton's, as Karpathy has it in "Pong from pixels").

    rmsprop = RMSProp.initial(weights)
    weights, rmsprop = rmsprop.step(weights, gradient, learning_rate=1e-4, decay_rate=0.99)
    rmsprop = RMSProp.from_arrays(rmsprop.arrays(), weights)      # as a checkpoint keeps it

Weights and gradients are dictionaries of float32 arrays with the same names and shapes. A step goes uphill.
"""

import math
from dataclasses import dataclass

import numpy as np

from bitexact.determinism.arrays import Arrays, add_prefix, zero_below, zeros_like

EPSILON = 1e-5
SMALLEST_SQUARE = 2.0**-100  # what is below is zero: see `step`
_CACHE = "cache_"  # begins the names of its arrays in checkpoints and digests


@dataclass(frozen=True)
class RMSProp:
    """The running mean of the gradient's square."""

    square: Arrays

    @classmethod
    def initial(cls, weights: Arrays) -> "RMSProp":
        """Before the first step."""
        return cls(zeros_like(weights))

    @classmethod
    def from_arrays(cls, arrays: Arrays, weights: Arrays) -> "RMSProp":
        """The optimizer of some weights, from what `arrays` gave. Raises KeyError for an array that is not there."""
        return cls({name: arrays[_CACHE + name] for name in weights})

    def arrays(self) -> Arrays:
        """All of it under one name each, for checkpoints and digests."""
        return add_prefix(_CACHE, self.square)

    def step(
        self, weights: Arrays, gradient: Arrays, learning_rate: float, decay_rate: float
    ) -> tuple[Arrays, "RMSProp"]:
        """One step uphill: the new weights, and the optimizer after it.

        s = decay s + (1 - decay) g^2;  w += rate g / (sqrt(s) + 1e-5)

        Then what is too small to be seen beside 1e-5, once the root is taken, is zero: it would go on decaying as a
        denormal number, with which some processors compute many times slower. There is one step an update, and what
        is left, 2^-100 or more, does not come to 2^-126 in the next, for any decay above 2^-26.
        """
        new_weights, square = {}, {}
        for name, g in gradient.items():
            s = np.float32(decay_rate) * self.square[name] + np.float32(1.0 - decay_rate) * (g * g)
            step = np.float32(learning_rate) * g / (np.sqrt(s) + np.float32(EPSILON))
            new_weights[name], square[name] = weights[name] + step, s
            zero_below(s, SMALLEST_SQUARE)
        return new_weights, RMSProp(square)


def largest_step(learning_rate: float, decay_rate: float) -> float:
    """No weight moves further in one step: |g| / sqrt(square) is at most 1 / sqrt(1 - decay), whatever came before."""
    return learning_rate / math.sqrt(1.0 - decay_rate)
