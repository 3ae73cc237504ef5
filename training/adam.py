"""Adam, in operations that IEEE 754 fixes (Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2015).

    adam = Adam.initial(weights)
    adam.step(weights, gradient, learning_rate=2e-3)      # in place: both are another after it
    adam.settle()                                         # now and then: nothing is denormal
    adam = Adam.from_arrays(adam.arrays(), weights)       # as a checkpoint keeps it

Weights and gradients are dictionaries of float32 arrays with the same names and shapes; one of them, "W1", has a row
for each input of the network. A step goes uphill.
"""

import math
from dataclasses import dataclass

import numpy as np

from bitexact.determinism.arrays import Arrays, add_prefix, blocks, copies, zero_below, zeros_like

MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-5
SETTLED_EVERY = 64  # steps of an update
SMALLEST_MEAN, SMALLEST_SQUARE = 2.0**-66, 2.0**-100  # what is below is zero: see `settle`
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
        return Adam(gather_rows(self.mean, inputs), gather_rows(self.square, inputs), self.powers.copy())

    def widen(self, inputs: np.ndarray, whole: "Adam") -> "Adam":
        """The optimizer of the whole network, from that of some inputs; the other inputs' rows are those of `whole`."""
        mean, square = scatter_rows(self.mean, inputs, whole.mean), scatter_rows(self.square, inputs, whole.square)
        return Adam(mean, square, self.powers)

    def copy(self) -> "Adam":
        """The same in memory of its own."""
        return Adam(copies(self.mean), copies(self.square), self.powers.copy())

    def step(self, weights: Arrays, gradient: Arrays, learning_rate: float) -> None:
        """One step uphill, in place: of the weights, and of the optimizer.

        m = b1 m + (1 - b1) g;  s = b2 s + (1 - b2) g^2;  w += rate (m / (1 - b1^t)) / (sqrt(s / (1 - b2^t)) + 1e-5)
        """
        self.powers[:] *= (MEAN_DECAY, SQUARE_DECAY)
        mean_factor, square_factor = (np.float32(1.0 / (1.0 - power)) for power in self.powers.tolist())
        factors = np.float32(learning_rate), mean_factor, square_factor
        for name, g in gradient.items():
            for rows in blocks(len(g)):
                _advance(weights[name][rows], self.mean[name][rows], self.square[name][rows], g[rows], factors)

    def settle(self) -> None:
        """Set to zero, in place, what is too small to move a weight: after every 64th step of an update, and the last.

        A mean decays by 0.9 a step and would go on for hundreds of steps as a denormal number, with which some
        processors compute many times slower. 0.9^64 > 2^-10: from one settling to the next, a mean stays above 2^-76,
        a mean of squares above 2^-101, far from 2^-126 where denormal numbers begin; and the sum of two float32 above
        2^-76 is 0 or 2^-100 at least, which in 64 steps is not denormal either. A mean below 2^-66 moves a weight by
        less than 2^-46 of the rate; a root of squares below 2^-50 is lost beside the 1e-5 that it is added to.
        A power below 2^-66 is lost beside the 1 that it is taken from; 0.9 to the 6,800th would be denormal.
        Comparisons are exact: the rule gives the same bits on every processor.
        """
        for array in (*self.mean.values(), self.powers):
            zero_below(array, SMALLEST_MEAN)
        for array in self.square.values():
            zero_below(array, SMALLEST_SQUARE)


def largest_step(learning_rate: float) -> float:
    """No weight moves further in one step, whatever came before: |mean| / sqrt(square), both corrected.

    By Cauchy and Schwarz it is at most the root of the sum of (1 - b1)^2 b1^2k / ((1 - b2) b2^k) over the steps k, and
    the correction's factor sqrt(1 - b2^t) / (1 - b1^t) is at most 1 / (1 - b1) times sqrt(1 - b2), at the first step,
    and below 1 / (1 - b1^t) after it; so (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)) bounds all.
    """
    b1, b2 = MEAN_DECAY, SQUARE_DECAY
    return learning_rate * (1.0 - b1) / math.sqrt((1.0 - b2) * (1.0 - b1 * b1 / b2))


def gather_rows(arrays: Arrays, inputs: np.ndarray) -> Arrays:
    """Copies of the arrays, "W1" with the rows of some inputs alone, int64, ascending."""
    return {name: array[inputs] if name == "W1" else array.copy() for name, array in arrays.items()}


def scatter_rows(arrays: Arrays, inputs: np.ndarray, whole: Arrays) -> Arrays:
    """The same arrays, "W1" with a row for each input: those of `inputs` as they are, the others from `whole`."""
    w1 = whole["W1"].copy()
    w1[inputs] = arrays["W1"]
    return arrays | {"W1": w1}


def _advance(w: np.ndarray, m: np.ndarray, s: np.ndarray, g: np.ndarray, factors: tuple[np.float32, ...]) -> None:
    """A step of some rows, in place: weights, mean, mean of squares; by their gradient."""
    rate, mean_factor, square_factor = factors
    new = g * np.float32(1.0 - MEAN_DECAY)
    m *= np.float32(MEAN_DECAY)
    m += new
    np.multiply(g, g, out=new)
    new *= np.float32(1.0 - SQUARE_DECAY)
    s *= np.float32(SQUARE_DECAY)
    s += new
    root = np.multiply(s, square_factor, out=new)
    np.sqrt(root, out=root)
    root += np.float32(EPSILON)
    step = m * rate if mean_factor == 1.0 else m * mean_factor * rate  # 1 from the 158th step on
    step /= root
    w += step
