"""Sums in order, whatever their shape: against additions one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import policy
from bitexact.determinism.exact_math import dot, norm, sum_rows
from pong.play import _stack

LENGTHS = (0, 1, 2, 7, 8, 9, 15, 16, 17, 127, 128, 129, 1000, 9001)  # NumPy's pairwise sum has blocks of 8 and 128
LAYOUTS = {
    "in rows": lambda rows: rows,
    "in columns": np.asfortranarray,
    "every second row": lambda rows: np.repeat(rows, 2, axis=0)[::2],
    "backwards": lambda rows: rows[::-1].copy()[::-1],
}


def some_rows(length: int, width: int, dtype: type) -> np.ndarray:
    """Numbers of many magnitudes: the order of their addition shows in the sum."""
    dice = np.random.default_rng(length * 1000 + width)
    return (dice.normal(size=(length, width)) * 10.0 ** dice.integers(-6, 6, (length, width))).astype(dtype)


def one_by_one(rows: np.ndarray) -> np.ndarray:
    total = np.zeros(rows.shape[1:], rows.dtype)
    for number, row in enumerate(rows):
        total = total + row if number else row.copy()
    return total


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 9, 64, 200])
def test_rows_are_added_in_order_whatever_their_shape(width, layout, dtype):
    for length in LENGTHS:
        rows = LAYOUTS[layout](some_rows(length, width, dtype))
        found = sum_rows(rows)
        assert found.dtype == dtype
        assert found.tobytes() == one_by_one(rows).tobytes(), (length, width)


def test_numbers_are_added_in_order():
    for length in LENGTHS[1:]:
        numbers = some_rows(length, 1, np.float32)[:, 0]
        assert sum_rows(numbers).tobytes() == one_by_one(numbers).tobytes(), length


def test_numpys_own_sum_of_one_column_is_in_another_order():
    """Why sum_rows is there: if this fails, NumPy has changed, and it may go."""
    rows = some_rows(9001, 1, np.float32)
    assert np.add.reduce(rows, axis=0).tobytes() != one_by_one(rows).tobytes()


@given(st.integers(1, 300), st.integers(1, 40))
def test_a_dot_product_is_summed_in_order(length, width):
    rows, vector = some_rows(length, width, np.float32), some_rows(width, 1, np.float32)[:, 0]
    products = rows.astype(np.float64) * vector.astype(np.float64)
    assert dot(rows, vector).tobytes() == one_by_one(products.T.copy()).tobytes()


@pytest.mark.parametrize("hidden_units", [1, 2, 5])
def test_a_length_is_summed_in_order(hidden_units):
    gradient = {"W1": some_rows(1000, hidden_units, np.float32), "W2": some_rows(hidden_units, 1, np.float32)[:, 0]}
    columns = [*one_by_one(gradient["W1"] * gradient["W1"]), *(gradient["W2"] * gradient["W2"])]
    assert norm(gradient) == math.sqrt(math.fsum(columns))


@pytest.mark.parametrize("hidden_units", [1, 2, 3, 8])
def test_the_policys_gradient_is_summed_step_by_step(hidden_units):
    """Both layers, also where SciPy and NumPy see a single column."""
    steps, inputs = 700, 12
    dice = np.random.default_rng(hidden_units)
    signs = dice.choice([-1.0, 0.0, 1.0], size=(steps, inputs)).astype(np.float32)
    observations = _stack([(row.nonzero()[0], row[row.nonzero()]) for row in signs], inputs)
    weights = {"W1": some_rows(inputs, hidden_units, np.float32), "W2": some_rows(hidden_units, 1, np.float32)[:, 0]}
    hidden = np.maximum(observations @ weights["W1"], 0.0)
    ups, probabilities = dice.random(steps) < 0.5, dice.random(steps)
    advantages = dice.normal(size=steps)
    found = policy.gradient(weights, observations, hidden, ups, probabilities, advantages)
    dlogits = ((ups - probabilities) * advantages).astype(np.float32)
    dhidden = dlogits[:, None] * weights["W2"] * (hidden > 0.0)
    w1 = np.zeros((inputs, hidden_units), np.float32)
    for t in range(steps):
        w1 += signs[t][:, None] * dhidden[t]
    assert found["W1"].tobytes() == w1.tobytes()
    assert found["W2"].tobytes() == one_by_one(hidden * dlogits[:, None]).tobytes()
