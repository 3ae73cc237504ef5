"""Adam against its formula, by hand, and the bound on its steps against any history of gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import policy
from bitexact.determinism.arrays import Arrays, copies, denormals
from bitexact.determinism.digests import digest
from training import adam as optimizer
from training.adam import Adam, largest_step

FEW, MANY = 40, 300  # rows
STEPS = 70  # of an update: settled once within it


def stepped(adam: Adam, weights: Arrays, gradient: Arrays, rate: float) -> tuple[Arrays, Adam]:
    """Weights and optimizer after a step; what is given stays as it is."""
    weights, after = copies(weights), adam.copy()
    after.step(weights, gradient, rate)
    return weights, after


def test_adams_first_steps_by_hand():
    """The first step is the rate, whatever the gradient; then m = 0.9 m + 0.1 g, v = 0.999 v + 0.001 g^2, corrected."""
    weights = {"W2": np.float32([1.0, 1.0])}
    once, adam = stepped(Adam.initial(weights), weights, {"W2": np.float32([4.0, -0.5])}, 0.01)
    np.testing.assert_allclose(once["W2"], [1.01, 0.99], rtol=1e-6)
    twice, adam = stepped(adam, once, {"W2": np.float32([2.0, 0.5])}, 0.01)
    m = np.array([(0.9 * 0.4 + 0.2) / 0.19, (0.9 * -0.05 + 0.05) / 0.19])
    v = np.array([(0.999 * 0.016 + 0.004) / 0.001999, (0.999 * 0.00025 + 0.00025) / 0.001999])
    np.testing.assert_allclose(twice["W2"], once["W2"] + 0.01 * m / (np.sqrt(v) + 1e-5), rtol=1e-6)
    assert adam.powers.tolist() == [0.9 * 0.9, 0.999 * 0.999]


def test_adams_state_comes_back_from_its_arrays():
    weights = policy.initial_weights(0, 12, 5)
    _, adam = stepped(Adam.initial(weights), weights, {name: array * 2 for name, array in weights.items()}, 0.1)
    arrays = adam.arrays()
    assert arrays.keys() == {"mean_W1", "mean_W2", "square_W1", "square_W2", "powers"}
    assert digest(Adam.from_arrays(arrays, weights).arrays()) == digest(arrays)


@pytest.mark.parametrize("name", ["mean_W1", "square_W2", "powers"])
def test_none_of_its_arrays_may_be_missing(name):
    weights = policy.initial_weights(0, 12, 5)
    arrays = Adam.initial(weights).arrays()
    del arrays[name]
    with pytest.raises(KeyError, match=name):
        Adam.from_arrays(arrays, weights)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.floats(1e-6, 1.0))
def test_no_weight_moves_further_than_the_largest_step(gradients, rate):
    weights = {"W2": np.zeros(1, np.float32)}
    adam, bound = Adam.initial(weights), largest_step(rate)
    for g in gradients:
        moved, adam = stepped(adam, weights, {"W2": np.float32([g])}, rate)
        assert abs(moved["W2"][0]) <= bound * 1.0001


def test_the_bound_is_not_far_from_what_can_happen():
    """After a long silence, one large gradient moves a weight by nearly (1 - b1) / sqrt(1 - b2) times the rate."""
    weights = {"W2": np.zeros(1, np.float32)}
    adam, moved = Adam.initial(weights), weights
    for g in [0.0] * 5000 + [1e3, 1e3, 1e3]:
        moved, adam = stepped(adam, weights, {"W2": np.float32([g])}, 1.0)
    assert moved["W2"][0] > 0.5 * largest_step(1.0)


def long_run(updates: int) -> tuple[list[str], list[int]]:
    """After each update of random gradients, most rows seen once and never again: weights' digest, denormal numbers."""
    random = np.random.Generator(np.random.PCG64(5))
    weights = {"W1": random.normal(0, 0.1, (MANY, 8)).astype(np.float32), "W2": np.ones(8, np.float32)}
    adam, digests, found = Adam.initial(weights), [], []
    for update in range(updates):
        rows = [*range(FEW), FEW + update % (MANY - FEW)]
        for number in range(STEPS):
            g = np.zeros_like(weights["W1"])
            g[rows] = random.normal(0, 1e-3, (len(rows), 8))
            adam.step(weights, {"W1": g, "W2": random.normal(0, 1e-2, 8).astype(np.float32)}, 1e-3)
            if (number + 1) % optimizer.SETTLED_EVERY == 0:
                adam.settle()
            found.append(denormals(adam.arrays()))
        adam.settle()
        digests.append(digest(weights))
    return digests, found


def test_in_a_long_run_nothing_of_it_is_ever_denormal_and_no_bit_of_the_weights_is_another(monkeypatch):
    digests, found = long_run(300)
    assert not any(found)
    monkeypatch.setattr(Adam, "settle", lambda self: None)
    without_the_rule, found = long_run(300)
    assert any(found)
    assert without_the_rule == digests


def test_settling_sets_to_zero_what_is_too_small_and_nothing_else():
    smallest, square = np.float32(optimizer.SMALLEST_MEAN), np.float32(optimizer.SMALLEST_SQUARE)
    below, below_square = np.nextafter(smallest, np.float32(0)), np.nextafter(square, np.float32(0))
    mean = {"W2": np.float32([smallest, -smallest, below, -below, 0.0, np.nan])}
    adam = Adam(mean, {"W2": np.float32([square, below_square, 1.0, 0.0, 0.0, np.nan])}, np.ones(2))
    adam.settle()
    np.testing.assert_array_equal(adam.mean["W2"], np.float32([smallest, -smallest, 0.0, 0.0, 0.0, np.nan]))
    np.testing.assert_array_equal(adam.square["W2"], np.float32([square, 0.0, 1.0, 0.0, 0.0, np.nan]))
