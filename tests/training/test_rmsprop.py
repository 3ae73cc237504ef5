"""RMSProp against its formula, by hand, and the bound on its steps against any history of gradients."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import policy
from bitexact.determinism.arrays import denormals
from bitexact.determinism.digests import digest
from training import rmsprop as optimizer
from training.rmsprop import RMSProp, largest_step

FLOAT32_ROUNDING = 2.0**-24


def test_a_step_by_hand():
    weights = {"W2": np.float32([1.0, 1.0, 1.0])}
    before = RMSProp({"W2": np.float32([23.0, 0.0, 8.0])})
    gradient = {"W2": np.float32([3.0, 0.0, -2.0])}
    new_weights, after = before.step(weights, gradient, learning_rate=0.125, decay_rate=0.5)
    # (23 + 9) / 2 = 16, (0 + 0) / 2 = 0, (8 + 4) / 2 = 6
    assert after.square["W2"].tolist() == [16.0, 0.0, 6.0]
    # 0.125 * 3 / (4 + 1e-5) = 0.0937497656; 0; -0.125 * 2 / (2.4494897428 + 1e-5) = -0.1020616552
    np.testing.assert_allclose(new_weights["W2"], [1.0937497656, 1.0, 0.8979383448], rtol=0.0, atol=FLOAT32_ROUNDING)


def test_it_counts_on_in_its_running_mean():
    weights = {"W2": np.zeros(1, np.float32)}
    rmsprop = RMSProp.initial(weights)
    for _ in range(3):
        weights, rmsprop = rmsprop.step(weights, {"W2": np.float32([2.0])}, 1e-3, 0.99)
    mean_squares = [4 * 0.01, 4 * (0.01 + 0.0099), 4 * (0.01 + 0.0099 + 0.009801)]
    assert rmsprop.square["W2"][0] == pytest.approx(mean_squares[-1], rel=1e-6)
    steps = [1e-3 * 2 / (math.sqrt(mean_square) + 1e-5) for mean_square in mean_squares]
    assert weights["W2"][0] == pytest.approx(sum(steps), rel=1e-6)


def test_a_step_leaves_its_arguments_alone_and_keeps_float32():
    weights, square, gradient = arguments = [policy.initial_weights(seed, 10, 4) for seed in range(3)]
    square["W1"] **= 2
    square["W2"] **= 2
    before = [digest(arrays) for arrays in arguments]
    new_weights, after = RMSProp(square).step(weights, gradient, 1e-3, 0.99)
    assert [digest(arrays) for arrays in arguments] == before
    assert {array.dtype.str for array in (*new_weights.values(), *after.square.values())} == {"<f4"}


def test_its_state_comes_back_from_its_arrays_and_none_may_be_missing():
    weights = policy.initial_weights(0, 10, 4)
    _, rmsprop = RMSProp.initial(weights).step(weights, weights, 1e-3, 0.99)
    arrays = rmsprop.arrays()
    assert arrays.keys() == {"cache_W1", "cache_W2"}
    assert digest(RMSProp.from_arrays(arrays, weights).arrays()) == digest(arrays)
    del arrays["cache_W2"]
    with pytest.raises(KeyError, match="cache_W2"):
        RMSProp.from_arrays(arrays, weights)


# Up to where the square of a gradient is still a float32.
gradients = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 6), st.just(4)), elements=st.floats(-(2.0**63), 2.0**63, width=32)
)


@given(gradients, st.floats(1e-6, 1.0), st.floats(0.0, 0.9999), st.floats(-100.0, 100.0, width=32))
def test_no_weight_moves_further_than_the_largest_step(history, learning_rate, decay_rate, start):
    bound, weights = largest_step(learning_rate, decay_rate), {"W2": np.full(4, start, np.float32)}
    rmsprop = RMSProp.initial(weights)
    for row in history:
        moved, rmsprop = rmsprop.step(weights, {"W2": row}, learning_rate, decay_rate)
        rounding = np.spacing(np.maximum(abs(weights["W2"]), abs(moved["W2"])))
        change = abs(moved["W2"].astype(np.float64) - weights["W2"])
        assert (change <= bound * (1.0 + 1e-6) + rounding).all()
        assert (rmsprop.square["W2"] >= 0.0).all()
        weights = moved


@pytest.mark.parametrize("decay_rate", [0.5, 0.9, 0.99, 0.999])
def test_the_largest_step_is_reached_by_a_first_large_gradient(decay_rate):
    zeros = {"W2": np.zeros(2, np.float32)}
    moved, _ = RMSProp.initial(zeros).step(zeros, {"W2": np.float32([1e6, -1e6])}, 1e-3, decay_rate)
    bound = largest_step(1e-3, decay_rate)
    np.testing.assert_allclose(moved["W2"], [bound, -bound], rtol=1e-6)


def long_run(updates: int) -> tuple[list[str], list[int]]:
    """After each update, some rows seen at first alone: the weights' digest, and how many numbers are denormal."""
    random = np.random.Generator(np.random.PCG64(5))
    weights = {"W1": random.normal(0, 0.1, (60, 8)).astype(np.float32)}
    rmsprop, digests, found = RMSProp.initial(weights), [], []
    for update in range(updates):
        g = random.normal(0, 1e-3, (60, 8)).astype(np.float32)
        g[1:] *= update < 5 or update % 700 == 0
        weights, rmsprop = rmsprop.step(weights, {"W1": g}, 1e-3, 0.9)
        digests.append(digest(weights))
        found.append(denormals(rmsprop.arrays()))
    return digests, found


def test_in_a_long_run_nothing_of_it_is_ever_denormal_and_no_bit_of_the_weights_is_another(monkeypatch):
    digests, found = long_run(1500)
    assert not any(found)
    monkeypatch.setattr(optimizer, "zero_below", lambda array, smallest: None)
    without_the_rule, found = long_run(1500)
    assert any(found)
    assert without_the_rule == digests
