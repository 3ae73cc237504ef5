"""Functions that give the same bits on every processor: operations whose result IEEE 754 fixes, in a fixed order.

Element-wise + - * / and sqrt, `numpy.add.accumulate` and `sum_rows` (row by row), `math.fsum` (exactly rounded) and
`ldexp` (exact). No BLAS, and nothing from libm: both choose their algorithm by the processor they find.
"""

import math
from collections.abc import Sequence

import numpy as np

from bitexact.determinism.arrays import Arrays, blocks

# exp(x) = 2^k exp(r) with k the integer nearest to x / ln 2 and |r| <= ln(2) / 2, as in Cody and Waite,
# "Software Manual for the Elementary Functions" (1980). The high part of ln 2 has 20 zero bits at its end, so that
# k times it is exact; the thirteenth Taylor term of exp(r) is below 2^-52.
_LN2_HIGH = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
_INVERSE_LN2 = float.fromhex("0x1.71547652b82fep+0")
_EXP_TAYLOR = tuple(1.0 / math.factorial(n) for n in range(13, -1, -1))
_SIGMOID_LIMIT = 700.0  # beyond, the result is held: exp(-700) is still a normal float64


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-logit)), the same bits on every processor; relative error below 1e-15 for |logit| <= 700."""
    if logit != logit:  # NaN stays NaN, for the property on probabilities to find
        return logit
    magnitude = min(abs(logit), _SIGMOID_LIMIT)
    k = int(magnitude * _INVERSE_LN2 + 0.5)
    r = k * _LN2_LOW - (magnitude - k * _LN2_HIGH)
    power = 0.0
    for coefficient in _EXP_TAYLOR:
        power = power * r + coefficient
    exponential = math.ldexp(power, -k)  # exp(-|logit|); ldexp is exact
    return 1.0 / (1.0 + exponential) if logit >= 0.0 else exponential / (1.0 + exponential)


def sigmoids(logits: np.ndarray) -> np.ndarray:
    """`sigmoid` of each, float64: the same operations, so the same bits."""
    magnitude = np.minimum(np.abs(logits), _SIGMOID_LIMIT)
    k = np.floor(magnitude * _INVERSE_LN2 + 0.5)
    r = k * _LN2_LOW - (magnitude - k * _LN2_HIGH)
    power = np.zeros_like(r)
    for coefficient in _EXP_TAYLOR:
        power = power * r + coefficient
    exponential = np.ldexp(power, -k.astype(np.int64))
    found: np.ndarray = np.where(logits >= 0.0, 1.0, exponential) / (1.0 + exponential)
    return found


def standardise(values: Sequence[float]) -> np.ndarray:
    """The values with mean 0 and standard deviation 1, float64 [T]; all zero when they do not vary."""
    if min(values) == max(values):  # their mean may be rounded: the deviation would be the rounding's
        return np.zeros(len(values))
    mean = math.fsum(values) / len(values)
    centred = np.array(values) - mean
    deviation = math.sqrt(math.fsum((centred * centred).tolist()) / len(values))
    return centred / deviation if deviation > 0.0 else np.zeros(len(values))


def dot(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Each row's product with a vector, summed in order: float64 [M]."""
    return sum_rows(np.multiply(rows.T, vector[:, None], dtype=np.float64, order="C"))  # all rows' sums side by side


def sum_rows(rows: np.ndarray) -> np.ndarray:
    """The rows [N, ...] added one after the other, in order, in their own dtype: [...].

    NumPy's sum along axis 0 is that sum too, except where it sees one contiguous column: of that it takes a pairwise
    sum, whose order depends on the length and on how wide the processor's vectors are.
    """
    rows = np.ascontiguousarray(rows)
    is_one_column = rows.size == len(rows) > 0
    total: np.ndarray = np.add.accumulate(rows, axis=0)[-1] if is_one_column else np.add.reduce(rows, axis=0)
    return total


def norm(gradient: Arrays) -> float:
    """The Euclidean length of a gradient, summed in a fixed order; not finite where one of its numbers is not."""
    columns = [_sum_squares(np.atleast_2d(g)) for _, g in sorted(gradient.items())]
    return math.sqrt(math.fsum(np.concatenate(columns).tolist()))


def _sum_squares(rows: np.ndarray) -> np.ndarray:
    """`sum_rows(rows * rows)`, block by block: the sum so far is the first row that a block's squares are added to."""
    total = np.zeros((0, rows.shape[1]), rows.dtype)
    for block in blocks(len(rows)):
        squares = np.empty((len(total) + len(rows[block]), rows.shape[1]), rows.dtype)
        squares[: len(total)] = total
        np.multiply(rows[block], rows[block], out=squares[len(total) :])
        total = sum_rows(squares)[None]
    return sum_rows(total)
