"""The referee of PPO: what is right it lets pass at any size, what is wrong by a thousandth it does not."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from bitexact.determinism.arrays import Arrays, copies
from bitexact.determinism.exact_math import norm
from training.adam import Adam
from training.ppo import Objective, clip_by_global_norm
from training.referee import clip_excess, gradient_excess, step_excess
from training.steps import Steps

NAMES = ("W1", "W2", "V")
RATE = 0.002


def some_weights(dice: np.random.Generator, inputs: int, hidden_units: int) -> Arrays:
    shapes = {"W1": (inputs, hidden_units), "W2": (hidden_units,), "V": (hidden_units,)}
    return {name: dice.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def some_objective(dice: np.random.Generator, steps: int, inputs: int) -> Objective:
    shape = (steps, inputs)
    observations = dice.choice([-1.0, 0.0, 1.0], p=[0.2, 0.6, 0.2], size=shape).astype(np.float32)
    of_steps = Steps(
        observations=sparse.csr_array(observations),
        ups=dice.random(steps) < 0.5,
        probabilities=dice.uniform(0.05, 0.95, steps),
        advantages=dice.normal(size=steps),
        value_targets=dice.normal(size=steps),
    )
    return Objective(of_steps, clip=0.2, entropy_coef=0.03, value_coef=0.5)


def some_adam(dice: np.random.Generator, weights: Arrays) -> Adam:
    """An optimizer after three steps."""
    adam = Adam.initial(weights)
    for _ in range(3):
        gradient = {name: dice.normal(size=array.shape).astype(np.float32) for name, array in weights.items()}
        adam.step(copies(weights), gradient, RATE)
    return adam


def stepped(adam: Adam, weights: Arrays, gradient: Arrays) -> tuple[Arrays, Adam]:
    """Weights and optimizer after a step; what is given stays as it is."""
    weights, adam = copies(weights), adam.copy()
    adam.step(weights, gradient, RATE)
    return weights, adam


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 1200), st.integers(1, 30), st.integers(1, 12), st.floats(-6, 6))
def test_what_is_right_passes(seed, steps, inputs, hidden_units, magnitude):
    dice = np.random.default_rng(seed)
    weights, objective = some_weights(dice, inputs, hidden_units), some_objective(dice, steps, inputs)
    weights = {name: array * np.float32(10.0**magnitude) for name, array in weights.items()}
    gradient = objective.gradient(weights)
    assert gradient_excess(objective, weights, gradient) <= 0.5
    clipped = clip_by_global_norm(gradient, norm(gradient), 0.5)
    assert clip_excess(gradient, 0.5, clipped) <= 0.5
    adam = some_adam(dice, weights)
    assert step_excess(clipped, RATE, (weights, adam), stepped(adam, weights, clipped)) <= 1.0


@pytest.fixture
def right() -> tuple[Objective, Arrays, Arrays]:
    dice = np.random.default_rng(7)
    weights, objective = some_weights(dice, 12, 5), some_objective(dice, 600, 12)
    return objective, weights, objective.gradient(weights)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_that_is_wrong_by_a_thousandth_does_not_pass(right, name):
    objective, weights, gradient = right
    assert gradient_excess(objective, weights, gradient) <= 1.0
    wrong = gradient | {name: gradient[name] * np.float32(1.001)}
    assert gradient_excess(objective, weights, wrong) > 1.0


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_that_is_no_number_does_not_pass(right, name):
    objective, weights, gradient = right
    gradient[name][0] = np.nan
    assert not gradient_excess(objective, weights, gradient) <= 1.0


@pytest.mark.parametrize("change", [{"clip": 0.5}, {"entropy_coef": 0.031}, {"value_coef": 0.501}])
def test_the_gradient_of_another_objective_does_not_pass(right, change):
    objective, weights, _ = right
    wrong = dataclasses.replace(objective, **change).gradient(weights)
    assert gradient_excess(objective, weights, wrong) > 1.0


def test_a_step_left_out_of_the_sum_does_not_pass(right):
    objective, weights, _ = right
    fewer = dataclasses.replace(objective, steps=objective.steps.choose(np.arange(599)))
    wrong = {name: array * np.float32(599 / 600) for name, array in fewer.gradient(weights).items()}
    assert gradient_excess(objective, weights, wrong) > 1.0


def test_a_gradient_that_is_not_shortened_or_too_much_does_not_pass(right):
    _, _, gradient = right
    length = norm(gradient)
    assert clip_excess(gradient, length / 2.0, clip_by_global_norm(gradient, length, length / 2.0)) <= 1.0
    assert clip_excess(gradient, length / 2.0, gradient) > 1.0
    assert clip_excess(gradient, length / 2.0, clip_by_global_norm(gradient, length, length / 2.01)) > 1.0
    assert clip_excess(gradient, length * 2.0, clip_by_global_norm(gradient, length, length / 1.01)) > 1.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("of", ["weights", "mean", "square"])
def test_a_step_that_is_wrong_by_a_thousandth_in_one_array_does_not_pass(right, name, of):
    _, weights, gradient = right
    adam = some_adam(np.random.default_rng(1), weights)
    new_weights, new_adam = stepped(adam, weights, gradient)
    longer = np.float32(1.001)
    if of == "weights":
        new_weights[name] = weights[name] + (new_weights[name] - weights[name]) * longer
    else:
        getattr(new_adam, of)[name] *= longer
    assert step_excess(gradient, RATE, (weights, adam), (new_weights, new_adam)) > 1.0


def test_powers_that_stand_still_do_not_pass(right):
    _, weights, gradient = right
    adam = some_adam(np.random.default_rng(1), weights)
    new_weights, new_adam = stepped(adam, weights, gradient)
    still = dataclasses.replace(new_adam, powers=adam.powers)
    assert step_excess(gradient, RATE, (weights, adam), (new_weights, still)) > 1.0
