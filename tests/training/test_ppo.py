"""The ppo preset's parts against written-out formulas: objective, minibatches, schedules."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import policy
from bitexact.cli.exits import PropertyFailed
from bitexact.determinism.arrays import Arrays, copies
from bitexact.determinism.exact_math import dot, norm, sigmoids
from pong.game import CELL_SIDES, PIXELS, SEEN, SIDE, Pong
from pong.play import RolloutId, play
from training import initial_state, ppo, ppo_batch
from training.adam import Adam, gather_rows, scatter_rows
from training.ppo import Objective
from training.rollout_task import StepsTask
from training.settings import of_preset
from training.steps import GameSteps, Steps, minibatches
from training.update import compute_update

INPUTS, HIDDEN, STEPS = 12, 5, 40
CLIP, BONUS, VALUE_WEIGHT = 0.2, 0.03, 0.5
ROLLOUT_ID = RolloutId(seed=4, update=1, index=0)


def some_weights(seed: int = 0) -> Arrays:
    dice = np.random.default_rng(seed)
    shapes = {"W1": (INPUTS, HIDDEN), "W2": (HIDDEN,), "V": (HIDDEN,)}
    return {name: dice.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def some_steps(seed: int = 1) -> Steps:
    dice = np.random.default_rng(seed)
    observations = dice.choice([-1.0, 0.0, 1.0], p=[0.2, 0.6, 0.2], size=(STEPS, INPUTS)).astype(np.float32)
    return Steps(
        observations=sparse.csr_array(observations),
        ups=dice.random(STEPS) < 0.5,
        probabilities=dice.uniform(0.05, 0.95, STEPS),
        advantages=dice.normal(size=STEPS),
        value_targets=dice.normal(size=STEPS),
    )


def some_steps_without(inputs: list[int], seed: int) -> Steps:
    steps = some_steps(seed)
    observations = steps.observations.toarray()
    observations[:, inputs] = 0.0
    return dataclasses.replace(steps, observations=sparse.csr_array(observations))


def learned(weights: Arrays, adam: Adam, steps: Steps) -> tuple[Arrays, Adam]:
    """A few small steps."""
    weights, adam = copies(weights), adam.copy()
    for part in minibatches(STEPS, 10, 0, 1, 0):
        gradient = Objective(steps.choose(part), CLIP, BONUS, VALUE_WEIGHT).gradient(weights)
        limited = ppo.clip_by_global_norm(gradient, norm(gradient), 0.5)
        adam.step(weights, limited, 0.01)
    return weights, adam


def test_inputs_that_were_never_seen_are_left_out_without_a_trace():
    weights, adam = some_weights(), Adam.initial(some_weights())
    for seed, unseen in enumerate(([2, 5, 11], [2, 5], [2, 7, 8])):  # 5 comes later, and 7 and 8 go again
        steps = some_steps_without(unseen, seed)
        inputs = ppo.find_inputs_in_use(steps, adam)
        assert not {2, *([5] if 5 in unseen else [])} & set(inputs.tolist())
        narrow = learned(gather_rows(weights, inputs), adam.narrow(inputs), steps.narrow(inputs))
        whole = learned(weights, adam, steps)
        weights, adam = scatter_rows(narrow[0], inputs, weights), narrow[1].widen(inputs, adam)
        for name, array in (whole[0] | whole[1].arrays()).items():
            np.testing.assert_array_equal((weights | adam.arrays())[name], array, name)


def objective(weights: Arrays, steps: Steps, clip: float, bonus: float, value_coef: float) -> float:
    """The objective as the papers write it: dense, float64, with exponential and logarithm."""
    w1, w2, v = (weights[name].astype(np.float64) for name in ("W1", "W2", "V"))
    hidden = np.maximum(steps.observations.toarray().astype(np.float64) @ w1, 0.0)
    p = 1.0 / (1.0 + np.exp(-(hidden @ w2)))
    ratio = np.where(steps.ups, p / steps.probabilities, (1 - p) / (1 - steps.probabilities))
    gain = steps.advantages
    surrogate = np.minimum(ratio * gain, np.clip(ratio, 1 - clip, 1 + clip) * gain)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    error = (hidden @ v - steps.value_targets) ** 2 / 2
    return float(np.mean(surrogate + bonus * entropy - value_coef * error))


@pytest.mark.parametrize(
    ("clip", "bonus", "value_coef"),
    [(CLIP, 0.0, 0.0), (1e9, 0.0, 0.0), (CLIP, BONUS, 0.0), (CLIP, 0.0, VALUE_WEIGHT), (CLIP, BONUS, VALUE_WEIGHT)],
)
def test_the_gradient_is_that_of_the_objective(clip, bonus, value_coef):
    weights, steps, width = some_weights(), some_steps(), 1e-6
    found = Objective(steps, clip, bonus, value_coef).gradient(weights)
    for name, array in weights.items():
        expected = np.zeros(array.shape)
        for place in np.ndindex(array.shape):
            sides = []
            for shift in (width, -width):
                shifted = {key: value.astype(np.float64) for key, value in weights.items()}
                shifted[name][place] += shift
                sides.append(objective(shifted, steps, clip, bonus, value_coef))
            expected[place] = (sides[0] - sides[1]) / (2 * width)
        np.testing.assert_allclose(found[name], expected, rtol=2e-4, atol=2e-6, err_msg=name)


def test_some_steps_are_clipped_and_some_are_not():
    weights, steps = some_weights(), some_steps()
    free, clipped = (Objective(steps, clip, 0.0, 0.0).gradient(weights)["W2"] for clip in (1e9, CLIP))
    assert not np.allclose(free, clipped)
    assert np.any(clipped)


# ---- minibatches, lengths, schedules ----------------------------------------------------------------------------


@given(st.integers(1, 3000), st.integers(1, 500), st.integers(0, 3))
def test_minibatches_hold_each_step_once(count, size, number):
    parts = minibatches(count, size, seed=3, update=5, epoch=number)
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert len(parts) == max(1, round(count / size))


def test_each_pass_update_and_seed_has_an_order_of_its_own():
    names = [(3, 5, 0), (3, 5, 1), (3, 6, 0), (4, 5, 0)]
    orders = {tuple(np.concatenate(minibatches(1000, 100, *name)).tolist()) for name in names}
    assert len(orders) == len(names)
    first = minibatches(1000, 100, *names[0])
    assert all((a == b).all() for a, b in zip(first, minibatches(1000, 100, *names[0]), strict=True))


def test_a_gradient_is_shortened_to_a_length_and_no_further():
    gradient = {"W1": np.float32([[3.0, 0.0], [0.0, 4.0]]), "W2": np.float32([12.0])}
    assert norm(gradient) == 13.0
    assert norm(ppo.clip_by_global_norm(gradient, 13.0, 0.5)) == pytest.approx(0.5, rel=1e-6)
    assert ppo.clip_by_global_norm(gradient, 13.0, 13.0) is gradient


@pytest.mark.parametrize(("update", "expected"), [(1, 1.0), (2, 0.9), (6, 0.5), (10, 0.1), (11, 0.0), (500, 0.0)])
def test_a_schedule_is_a_straight_line_and_then_level(update, expected):
    assert ppo.linear_schedule(1.0, 0.0, 10, update) == pytest.approx(expected)


def test_a_policy_cools_along_its_schedule_and_is_otherwise_the_same():
    cooling = of_preset("ppo", batch_size=1, hidden_units=4, temperature_end=0.5, anneal_updates=10)
    level = dataclasses.replace(cooling, temperature_end=1.0)
    cool, warm = (compute_update(one, initial_state.from_seed(one), Pong())[0].arrays() for one in (cooling, level))
    assert (cool.pop("W2") == warm.pop("W2") * np.float32(1.0 / 0.95)).all(), "a tenth of the way to 0.5"
    assert {name: array.tobytes() for name, array in cool.items()} == {
        name: array.tobytes() for name, array in warm.items()
    }


# ---- planted bugs ------------------------------------------------------------------------------------------------


def learning_fails() -> str:
    """The property that stops the first update of a small run."""
    chosen = of_preset("ppo", batch_size=1, hidden_units=2, minibatch_size=500)
    with pytest.raises(PropertyFailed) as failed:
        compute_update(chosen, initial_state.from_seed(chosen), Pong())
    return str(failed.value)


def test_a_pass_that_leaves_steps_out_is_caught(monkeypatch):
    whole = ppo_batch.minibatches
    monkeypatch.setattr(ppo_batch, "minibatches", lambda *name, **more: whole(*name, **more)[1:])
    assert "a pass uses each step once" in learning_fails()


def test_a_pass_that_uses_steps_twice_is_caught(monkeypatch):
    whole = ppo_batch.minibatches
    monkeypatch.setattr(ppo_batch, "minibatches", lambda *name, **more: whole(*name, **more) + whole(*name, **more)[:1])
    assert "a pass uses each step once" in learning_fails()


@pytest.mark.parametrize("name", ["W1", "W2", "V"])
def test_a_gradient_that_is_wrong_is_caught(monkeypatch, name):
    right = Objective.gradient

    def wrong(self: Objective, weights: Arrays) -> Arrays:
        found = right(self, weights)
        return found | {name: found[name] * np.float32(1.01)}

    monkeypatch.setattr(Objective, "gradient", wrong)
    assert "a gradient agrees with float64" in learning_fails()


@pytest.mark.parametrize("of", ["mean", "square"])
@pytest.mark.parametrize("name", ["W1", "W2", "V"])
def test_optimizer_state_that_is_wrong_is_caught(monkeypatch, name, of):
    right = Adam.step

    def wrong(self: Adam, *arguments) -> None:
        right(self, *arguments)
        getattr(self, of)[name] *= np.float32(1.001)

    monkeypatch.setattr(Adam, "step", wrong)
    assert "a step agrees with float64" in learning_fails()


def test_a_step_in_which_adam_corrects_nothing_is_caught(monkeypatch):
    right = Adam.step

    def wrong(self: Adam, *arguments) -> None:
        right(dataclasses.replace(self, powers=np.zeros(2)), *arguments)
        self.powers[:] *= [0.9, 0.999]

    monkeypatch.setattr(Adam, "step", wrong)
    assert "a step agrees with float64" in learning_fails()


def test_a_gradient_that_is_shortened_where_it_need_not_be_is_caught(monkeypatch):
    monkeypatch.setattr(
        ppo_batch,
        "clip_by_global_norm",
        lambda gradient, length, longest: {name: array * np.float32(0.99) for name, array in gradient.items()},
    )
    assert "a step agrees with float64" in learning_fails()


def test_a_step_longer_than_adams_is_caught(monkeypatch):
    right = Adam.step

    def long(self: Adam, weights: Arrays, gradient: Arrays, learning_rate: float) -> None:
        right(self, weights, gradient, 100 * learning_rate)

    monkeypatch.setattr(Adam, "step", long)
    monkeypatch.setattr(ppo_batch, "is_compared", lambda update: False)  # the referee would be first
    assert "no weight moves further than the optimizer can" in learning_fails()


# ---- in a game --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights() -> Arrays:
    return policy.initial_weights(4, SEEN, 3) | {"V": np.float32([0.5, -0.25, 1.0])}


def test_a_game_travels_whole(weights):
    trajectory = play(Pong(), weights, ROLLOUT_ID)
    game, record = StepsTask(discount=0.99, gae_lambda=0.95).run(Pong(), weights, ROLLOUT_ID)
    steps = Steps.of([game, game], SEEN)
    assert record.steps == len(trajectory.ups) == len(steps) // 2
    both = sparse.vstack([trajectory.observations] * 2, format="csr")
    assert abs(steps.observations - both).nnz == 0
    assert (steps.probabilities == np.tile(trajectory.probabilities, 2)).all()
    assert math.fsum(steps.advantages) == pytest.approx(0.0, abs=1e-6)
    assert game.inputs.dtype == np.uint16
    assert isinstance(game, GameSteps)


def test_what_is_learned_from_is_what_was_played(weights):
    """The network over all steps at once has the bits that it had one step at a time: the first ratio is 1."""
    game, _ = StepsTask(discount=0.99, gae_lambda=0.95).run(Pong(), weights, ROLLOUT_ID)
    steps = Steps.of([game], SEEN)
    hidden = np.maximum(steps.observations @ weights["W1"], 0.0)
    assert (sigmoids(dot(hidden, weights["W2"])) == steps.probabilities).all()


def test_it_sees_what_changed_and_what_is_lit_at_every_scale():
    pong = Pong()
    observation, _ = pong.reset(seed=4)
    lit_before = dense(pong.observe())[PIXELS : 2 * PIXELS]
    for _ in range(60):
        observation, *_ = pong.step(1)
        inputs, _ = pong.observe()
        seen = dense(pong.observe())
        changed, lit, first = seen[:PIXELS], seen[PIXELS : 2 * PIXELS], 2 * PIXELS
        assert (changed == observation).all()
        assert (lit - lit_before == observation).all()
        for side in CELL_SIDES:
            across = SIDE // side
            cells = lit.reshape(across, side, across, side).max(axis=(1, 3))  # an independent way to the same
            assert (seen[first : first + across * across] == cells.ravel()).all()
            first += across * across
        assert first == SEEN
        assert (np.diff(inputs) > 0).all()
        lit_before = lit


def dense(sight: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    inputs, signs = sight
    values = np.zeros(SEEN)
    values[inputs] = signs
    return values
