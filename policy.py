"""The policy: a two-layer network that says how probable "up" is, and its gradient. NumPy and SciPy, nothing else.

Everything on the way to the weights uses only operations whose result IEEE 754 fixes: element-wise + - * / and sqrt,
`exact_math.sum_rows` (row by row), `numpy.add.accumulate` (in order, by definition), and `math.fsum`
(exactly rounded). No BLAS, and nothing from libm: both choose their algorithm by the processor they find.

Weights and gradients are dictionaries of float32 arrays with the same names and shapes:
"W1" [D, H], one row an input, and "W2" [H]. Below, T is the number of steps, D of inputs, H of hidden units.
"""

import math

import numpy as np
from scipy import sparse
from scipy.sparse import _sparsetools

from bitexact.determinism.arrays import Arrays
from bitexact.determinism.exact_math import sigmoid, sum_rows
from bitexact.determinism.streams import Purpose, Stream

_UNIFORMS_PER_NORMAL = 12


def initial_weights(seed: int, inputs: int, hidden_units: int) -> Arrays:
    """Weights with mean 0 and variance 1 / fan-in.

    Twelve uniforms less six stand in for a normal variate: mean 0 and variance 1 exactly, and only sums to get there.
    """
    shapes = {"W1": (inputs, hidden_units), "W2": (hidden_units,)}
    return {
        name: _normals(Stream(seed, Purpose.INITIAL_WEIGHTS, index=number), shape)
        for number, (name, shape) in enumerate(shapes.items())
    }


def _normals(stream: Stream, shape: tuple[int, ...]) -> np.ndarray:
    total = np.full(math.prod(shape), -_UNIFORMS_PER_NORMAL / 2)
    for _ in range(_UNIFORMS_PER_NORMAL):
        total += stream.uniforms(total.size)
    variates: np.ndarray = total / np.sqrt(float(shape[0]))
    return variates.astype(np.float32).reshape(shape)


class Forward:
    """The network, its weights laid out for many steps.

        probability, hidden = Forward(weights)(pixels, signs)

    gives the probability of "up", float64, and the hidden units, float32 [H], for a sparse observation: `pixels` are
    the indices of the pixels that changed, ascending; `signs` their changes, float32 of +1 and -1.

    The hidden layer is the sum of these pixels' rows of W1: about 25 of 6,400, so 30 times less work than a dense
    product. Both layers are SciPy's kernels beneath `csr_array @ array`, called without the 20 us that their check of
    arguments takes. They add term by term in ascending order, and each product is exact (a sign times a float32; two
    float32 in float64): so a compiler that fuses multiplication and addition would change no bit.
    """

    def __init__(self, weights: Arrays) -> None:
        self._w1, self._w2 = np.ascontiguousarray(weights["W1"]), weights["W2"].astype(np.float64)
        inputs, hidden_units = self._w1.shape
        self._shape_1, self._shape_2 = (1, inputs, hidden_units), (1, hidden_units)
        self._ends_1, self._ends_2 = np.array([0, 0], np.intp), np.array([0, hidden_units], np.intp)
        self._units = np.arange(hidden_units, dtype=np.intp)

    def __call__(self, pixels: np.ndarray, signs: np.ndarray) -> tuple[float, np.ndarray]:
        """The probability of "up", and the hidden units."""
        hidden, logit = np.zeros(self._units.size, np.float32), np.zeros(1)
        self._ends_1[1] = len(pixels)
        _sparsetools.csr_matvecs(*self._shape_1, self._ends_1, pixels, signs, self._w1, hidden)
        np.maximum(hidden, 0.0, out=hidden)
        _sparsetools.csr_matvec(*self._shape_2, self._ends_2, self._units, self._w2, hidden.astype(np.float64), logit)
        return sigmoid(logit.item()), hidden


def gradient(
    weights: Arrays,
    observations: sparse.csr_array,
    hidden: np.ndarray,
    ups: np.ndarray,
    probabilities: np.ndarray,
    advantages: np.ndarray,
) -> Arrays:
    """The gradient of sum over t of advantage_t log p(action_t), to be climbed.

    `observations` [T, D] holds +1 and -1, `hidden` is float32 [T, H], `ups` bool [T], `probabilities` of up and
    `advantages` float64 [T]. Of log p the derivative by the logit is (action - probability).
    """
    dlogits = ((ups - probabilities) * advantages).astype(np.float32)  # [T]
    dhidden = dlogits[:, None] * weights["W2"]  # [T, H]
    dhidden *= hidden > 0.0
    return {
        # SciPy multiplies a transposed CSR matrix step by step in ascending order; times 1 or -1 nothing is rounded.
        "W1": observations.T @ dhidden,
        "W2": sum_rows(hidden * dlogits[:, None]),
    }
