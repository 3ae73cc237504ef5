"""The policy against independent formulas: dense float64 algebra, central differences, mpmath, sums written out."""

import hashlib
import math
import sys
import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse, stats

import policy
from bitexact.determinism.arrays import zeros_like
from bitexact.determinism.digests import digest
from bitexact.determinism.exact_math import sigmoid, standardise
from pong.game import Pong
from pong.play import RolloutId, Trajectory, play
from training.returns import discount_returns

ULP = 2.0**-52
FLOAT32_ROUNDING = 2.0**-24


# ---- sigmoid ----------------------------------------------------------------------------------------------------


def relative_error(logit: float) -> float:
    with mpmath.workprec(200):
        exact = 1 / (1 + mpmath.exp(-mpmath.mpf(logit)))
        return float(abs(sigmoid(logit) - exact) / exact)


def with_neighbours(logits: np.ndarray, reach: int = 2) -> np.ndarray:
    """Each number and the floats next to it, where a rounding may go the other way."""
    found = [logits]
    for direction in (-np.inf, np.inf):
        near = logits
        for _ in range(reach):
            near = np.nextafter(near, direction)
            found.append(near)
    return np.concatenate(found)


_HALVES_OF_LN2 = math.log(2.0) / 2 * np.arange(-2019, 2020)  # odd ones: here the power of two changes
LOGITS = {
    "the whole range": np.random.default_rng(0).uniform(-700.0, 700.0, 10_000),
    "usual logits": np.random.default_rng(1).normal(0.0, 3.0, 10_000),
    "around zero": np.outer([-1.0, 1.0], 2.0 ** -np.arange(0.0, 80.0, 0.25)).ravel(),
    "halves of ln 2": with_neighbours(_HALVES_OF_LN2[abs(_HALVES_OF_LN2) < 699.9]),
    "whole numbers": with_neighbours(np.arange(-699.0, 700.0)),
    "where the result nears 1": with_neighbours(np.linspace(36.0, 38.0, 200)),
    "the edges": np.array([-700.0, 700.0, np.nextafter(-700.0, 0.0), np.nextafter(700.0, 0.0), 0.0, -0.0, 5e-324]),
}


@pytest.mark.parametrize("logits", LOGITS.values(), ids=LOGITS.keys())
def test_sigmoid_is_within_1e_15_of_the_exact_value(logits):
    assert max(map(relative_error, logits.tolist())) < 1e-15


def test_sigmoid_has_the_recorded_bits_on_every_machine():
    # Correct to the last place but one is not enough: another rounding is another run.
    sigmoids = np.array([sigmoid(n / 64.0) for n in range(-64 * 40, 64 * 40)], "<f8")
    assert (
        hashlib.sha256(sigmoids.tobytes()).hexdigest()
        == "2b28defee41ef6d1c07665e4d2646524fcab6cb93afa79f4a61545c64e220b8c"
    )


def test_sigmoid_is_one_half_at_zero():
    assert sigmoid(0.0) == sigmoid(-0.0) == 0.5


@pytest.mark.parametrize(
    "beyond", [700.0, math.nextafter(700.0, 800.0), 701.0, 745.2, 1e5, sys.float_info.max, math.inf]
)
def test_sigmoid_is_held_beyond_700(beyond):
    assert sigmoid(beyond) == 1.0
    assert sigmoid(-beyond) == sigmoid(-700.0) >= sys.float_info.min


@given(st.floats(-800.0, 800.0))
def test_sigmoids_of_a_number_and_its_negative_sum_to_one(logit):
    assert abs(sigmoid(logit) + sigmoid(-logit) - 1.0) <= ULP


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_sigmoid_never_falls_by_more_than_its_error(first, second):
    low, high = sorted((first, second))
    assert 0.0 < sigmoid(low) <= sigmoid(high) * (1.0 + 2e-15)
    assert sigmoid(high) <= 1.0


# ---- initial weights --------------------------------------------------------------------------------------------

# A sum of twelve uniforms has the fourth moment 2.9. At six deviations chance rejects once in 5 * 10^8.
FOURTH_MOMENT = 2.9
DEVIATIONS = 6.0
SUM_OF_TWELVE = stats.irwinhall(12)


@pytest.fixture(scope="module")
def initial() -> policy.Arrays:
    return policy.initial_weights(0, 6400, 200)


@pytest.fixture(params=["W1", "W2"])
def normals(request, initial) -> np.ndarray:
    """The weights times the root of their fan-in."""
    weights = initial[request.param]
    return weights.astype(np.float64).ravel() * math.sqrt(weights.shape[0])


def test_initial_weights_are_the_recorded_ones(initial):
    assert digest(initial) == "7c14e32268f7c82df698e647ab53196ea4deab7c964ab22fbb304c1453c81ea4"


def test_initial_weights_are_float32_of_the_networks_shape(initial):
    assert {name: (array.shape, array.dtype.str) for name, array in initial.items()} == {
        "W1": ((6400, 200), "<f4"),
        "W2": ((200,), "<f4"),
    }


def test_initial_weights_have_mean_0_and_variance_1_over_fan_in(normals):
    root = math.sqrt(normals.size)
    assert abs(normals.mean()) < DEVIATIONS / root
    assert abs((normals**2).mean() - 1.0) < DEVIATIONS * math.sqrt(FOURTH_MOMENT - 1.0) / root


def test_initial_weights_have_the_tails_of_twelve_uniforms(normals):
    for limit in (2.0, 3.0, 4.0):
        probability = 2.0 * SUM_OF_TWELVE.cdf(6.0 - limit)
        beyond = int((abs(normals) > limit).sum())
        assert stats.binomtest(beyond, normals.size, probability).pvalue > 1e-9, limit
    assert abs(normals).max() <= 6.0


def test_initial_weights_are_distributed_as_sums_of_twelve_uniforms(normals):
    some = normals[:: max(1, normals.size // 20_000)] + 6.0
    assert stats.kstest(some, SUM_OF_TWELVE.cdf).pvalue > 1e-9


def test_initial_weights_of_rows_and_columns_are_not_correlated(initial):
    rows = initial["W1"].astype(np.float64) * 80.0
    for shifted in (rows[1:] * rows[:-1], rows[:, 1:] * rows[:, :-1]):
        assert abs(shifted.mean()) < DEVIATIONS / math.sqrt(shifted.size)


def test_initial_weights_differ_by_seed_and_by_layer():
    drawn = [policy.initial_weights(seed, 64, 64) for seed in range(10)]
    assert len({digest(weights) for weights in drawn}) == 10
    assert not np.isin(drawn[0]["W2"], drawn[0]["W1"]).any()


# ---- forward and gradient ---------------------------------------------------------------------------------------


def dense_probabilities(weights: policy.Arrays, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of up [T], and the hidden units [T, H], all in float64."""
    hidden = np.maximum(observations @ weights["W1"], 0.0)
    return 1.0 / (1.0 + np.exp(-(hidden @ weights["W2"]))), hidden


def objective(weights: policy.Arrays, observations: np.ndarray, ups: np.ndarray, advantages: np.ndarray) -> float:
    """Sum over t of advantage_t log p(action_t), in float64."""
    probabilities, _ = dense_probabilities(weights, observations)
    return float(advantages @ np.log(np.where(ups, probabilities, 1.0 - probabilities)))


def central_differences(of, weights: policy.Arrays, step: float = 1e-5) -> policy.Arrays:
    slopes = {name: np.zeros(array.shape) for name, array in weights.items()}
    for name, array in weights.items():
        for at in np.ndindex(array.shape):
            higher, lower = ({key: value.copy() for key, value in weights.items()} for _ in range(2))
            higher[name][at] += step
            lower[name][at] -= step
            slopes[name][at] = (of(higher) - of(lower)) / (2.0 * step)
    return slopes


def sparse_forward(weights: policy.Arrays, observations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What policy.Forward gives for each row of a dense array."""
    results = []
    for row in observations:
        pixels = np.flatnonzero(row)
        results.append(policy.Forward(weights)(pixels, row[pixels].astype(np.float32)))
    probabilities, hidden = zip(*results, strict=True)
    return np.array(probabilities), np.array(hidden)


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_the_slope_of_the_objective(seed):
    random = np.random.default_rng(seed)
    weights = policy.initial_weights(seed, 30, 6)
    observations = random.choice([-1.0, 0.0, 0.0, 1.0], size=(12, 30))
    ups, advantages = random.random(12) < 0.5, random.normal(size=12)
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    # A difference across a ReLU's kink is no slope.
    assert abs(observations @ exact["W1"]).min() > 1e-4

    probabilities, hidden = sparse_forward(weights, observations)
    gradient = policy.gradient(
        weights, sparse.csr_array(observations.astype(np.float32)), hidden, ups, probabilities, advantages
    )
    slopes = central_differences(lambda changed: objective(changed, observations, ups, advantages), exact)
    for name, slope in slopes.items():
        assert gradient[name].dtype == np.float32
        assert abs(slope).max() > 0.1
        # Terms of size 1 in float32, 12 of them; the difference itself errs by about 1e-10.
        np.testing.assert_allclose(gradient[name], slope, rtol=0.0, atol=5e-6)


def test_a_step_without_a_changed_pixel_is_a_toss_of_a_coin(initial):
    probability, hidden = policy.Forward(initial)(np.array([], np.int64), np.array([], np.float32))
    assert probability == 0.5
    np.testing.assert_array_equal(hidden, np.zeros(200, np.float32))


@pytest.fixture(scope="module")
def recorded(initial) -> Trajectory:
    return play(Pong(), initial, RolloutId(seed=0, update=1, index=0))


def test_sparse_forward_agrees_with_dense_on_a_recorded_game(recorded, initial):
    dense = recorded.observations.toarray().astype(np.float64)
    probabilities, hidden = dense_probabilities(initial, dense)
    # n float32 additions err by n roundings of the sum of magnitudes at most; so does what they lead to.
    terms = abs(dense).sum(axis=1)
    hidden_error = terms[:, None] * FLOAT32_ROUNDING * (abs(dense) @ abs(initial["W1"]))
    assert (abs(recorded.hidden - hidden) <= hidden_error).all()
    logit_error = hidden_error @ abs(initial["W2"])
    assert (abs(recorded.probabilities - probabilities) <= 0.25 * logit_error + 1e-14).all()
    assert terms.max() > 50
    assert logit_error.max() < 1e-3


def test_the_sparse_gradient_agrees_with_dense_on_a_recorded_game(recorded, initial):
    dense = recorded.observations.toarray().astype(np.float64)
    steps = len(dense)
    advantages = standardise(discount_returns(recorded.rewards.tolist(), 0.99))
    by_logit = (recorded.ups - recorded.probabilities) * advantages
    by_hidden = np.outer(by_logit, initial["W2"].astype(np.float64)) * (recorded.hidden > 0.0)
    expected = {"W1": dense.T @ by_hidden, "W2": by_logit @ recorded.hidden}
    magnitude = {"W1": abs(dense).T @ abs(by_hidden), "W2": abs(by_logit) @ recorded.hidden}

    gradient = policy.gradient(
        initial, recorded.observations, recorded.hidden, recorded.ups, recorded.probabilities, advantages
    )
    for name in ("W1", "W2"):
        # T additions and a few roundings of each term.
        error = (steps + 4) * FLOAT32_ROUNDING * magnitude[name]
        assert (abs(gradient[name] - expected[name]) <= error).all()
        assert abs(expected[name]).max() > 1_000 * error.max()


# ---- returns ----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1.0, 1.0), min_size=2, max_size=200))
def test_standardised_values_have_mean_0_and_deviation_1(values):
    assume(max(values) - min(values) > 1e-6)
    standardised = standardise(values)
    assert standardised.dtype == np.float64
    # Subtracting the mean loses what the spread is smaller than the values.
    tolerance = 1e-14 / (max(values) - min(values))
    assert abs(math.fsum(standardised) / len(values)) < tolerance
    assert abs(math.fsum(standardised**2) / len(values) - 1.0) < tolerance
    np.testing.assert_allclose(standardised, (values - np.mean(values)) / np.std(values), rtol=0.0, atol=1e-8)


@pytest.mark.parametrize("values", [[0.0], [0.0] * 1000, [-1.0] * 21, [1.0], [0.1]])
def test_values_that_do_not_vary_give_zeros_without_a_warning(values):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert standardise(values).tolist() == [0.0] * len(values)


@given(st.floats(-1.0, 1.0), st.integers(1, 200))
def test_equal_values_give_zeros_whatever_they_are(value, count):
    assert standardise([value] * count).tolist() == [0.0] * count


def test_zeros_have_the_names_shapes_and_dtypes_of_their_model():
    model = {"W1": np.ones((3, 2), np.float32), "W2": np.ones(2, np.float64)}
    assert digest(zeros_like(model)) == digest({"W1": np.zeros((3, 2), np.float32), "W2": np.zeros(2)})
