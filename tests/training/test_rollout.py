"""A rollout is a pure function: the same bytes wherever, whenever and after whatever it is computed."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xxhash

import policy
from bitexact.cli.exits import PropertyFailed
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import digest, fingerprint
from bitexact.determinism.streams import Purpose, Stream
from pong import game
from pong.game import Pong
from pong.play import RolloutId, Trajectory, play
from training.rollout_record import RolloutRecord, combine_fingerprints
from training.rollout_task import GradientTask

ROOT = Path(__file__).resolve().parents[2]
ROLLOUT_ID = RolloutId(seed=3, update=5, index=2)
DISCOUNT = 0.99
TASK = GradientTask(DISCOUNT)


@pytest.fixture(scope="module")
def weights() -> Arrays:
    return policy.initial_weights(3, game.PIXELS, 32)


@pytest.fixture(scope="module")
def pong() -> Pong:
    return Pong()


@pytest.fixture(scope="module")
def done(weights) -> tuple[Arrays, RolloutRecord]:
    return TASK.run(Pong(), weights, ROLLOUT_ID)


@pytest.fixture(scope="module")
def trajectory(weights) -> Trajectory:
    return play(Pong(), weights, ROLLOUT_ID)


def same(first: tuple[Arrays, RolloutRecord], second: tuple[Arrays, RolloutRecord]) -> bool:
    return digest(first[0]) == digest(second[0]) and first[1] == second[1]


# ---- purity -----------------------------------------------------------------------------------------------------


def in_a_fresh_process(**environment: str) -> dict:
    program = f"""if True:
        import dataclasses, json
        import policy
        from bitexact.determinism import digests
        from pong import game
        from pong.play import RolloutId
        from training.rollout_task import GradientTask
        weights = policy.initial_weights(3, game.PIXELS, 32)
        gradient, record = GradientTask({DISCOUNT}).run(game.Pong(), weights, {ROLLOUT_ID!r})
        print(json.dumps([digests.digest(gradient), dataclasses.asdict(record)]))
    """
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    gradient, record = json.loads(result.stdout.splitlines()[-1])
    return {"gradient": gradient, **record}


def test_a_rollout_is_the_recorded_one_on_every_machine(done):
    # For the pinned versions of the emulator, NumPy and SciPy.
    _, record = done
    assert (record.steps, record.reward, record.digest) == (1016, -19, "b340e5a5634506e0d38c526bb6f1143a")


def test_a_rollout_is_the_same_in_a_fresh_process(done):
    gradient, record = done
    assert in_a_fresh_process(PYTHONHASHSEED="1") == {"gradient": digest(gradient), **dataclasses.asdict(record)}


def test_a_rollout_is_the_same_on_a_lesser_processor(done):
    # The oldest instructions that NumPy, OpenBLAS and the C library agree to use, and another number of threads.
    gradient, record = done
    elsewhere = in_a_fresh_process(
        NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
        OPENBLAS_CORETYPE="Nehalem",
        OPENBLAS_NUM_THREADS="1",
        GLIBC_TUNABLES="glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
    )
    del elsewhere["loss"]  # a statistic, with a logarithm in it
    expected = {"gradient": digest(gradient), **dataclasses.asdict(record)}
    assert elsewhere == {name: value for name, value in expected.items() if name != "loss"}


def test_a_rollout_is_the_same_after_others_on_the_same_game(done, weights, pong):
    others = policy.initial_weights(8, game.PIXELS, 16)
    for index in range(2):
        TASK.run(pong, others, RolloutId(seed=1, update=1, index=index))
    assert same(TASK.run(pong, weights, ROLLOUT_ID), done)
    assert same(TASK.run(pong, weights, ROLLOUT_ID), done)


def test_a_rollout_leaves_its_weights_alone(done, pong):
    weights = policy.initial_weights(3, game.PIXELS, 32)
    for array in weights.values():
        array.flags.writeable = False  # as they come out of Ray's object store
    assert same(TASK.run(pong, weights, ROLLOUT_ID), done)


@pytest.mark.parametrize("other", [{"seed": 4}, {"update": 6}, {"index": 3}, {"update": 2, "index": 5}])
def test_another_name_is_another_rollout(done, weights, pong, other):
    _, record = TASK.run(pong, weights, dataclasses.replace(ROLLOUT_ID, **other))
    assert record.digest != done[1].digest
    assert record.weights == done[1].weights


def test_other_weights_and_another_discount_give_another_rollout(done, weights, pong):
    altered = {name: array.copy() for name, array in weights.items()}
    altered["W2"][0] = np.nextafter(altered["W2"][0], np.float32(1))
    _, record = TASK.run(pong, altered, ROLLOUT_ID)
    assert record.weights != done[1].weights
    assert record.digest != done[1].digest
    _, record = GradientTask(0.98).run(pong, weights, ROLLOUT_ID)
    assert record.digest != done[1].digest
    assert record.arrays["actions"] == done[1].arrays["actions"]


# ---- what was played --------------------------------------------------------------------------------------------


def test_up_is_taken_when_the_streams_number_is_below_its_probability(trajectory):
    numbers = Stream(3, Purpose.POLICY, 5, 2).uniforms(len(trajectory.ups))
    np.testing.assert_array_equal(trajectory.ups, numbers < trajectory.probabilities)
    assert 0.1 < trajectory.ups.mean() < 0.9


def test_evaluation_brings_thresholds_of_its_own(weights, pong):
    greedy = play(pong, weights, ROLLOUT_ID, thresholds=itertools.repeat(0.5))
    np.testing.assert_array_equal(greedy.ups, greedy.probabilities > 0.5)
    always_down = play(pong, weights, ROLLOUT_ID, thresholds=itertools.repeat(1.0))
    assert not always_down.ups.any()


def test_the_recorded_game_is_the_game_these_actions_give(trajectory, pong):
    observation, _ = pong.reset(seed=3, options={"update": 5, "index": 2})
    observations = trajectory.observations.toarray()
    for t, up in enumerate(trajectory.ups):
        assert (observations[t] == observation).all()
        observation, reward, terminated, truncated, _ = pong.step(up)
        assert reward == trajectory.rewards[t]
    assert t + 1 == len(trajectory.rewards) == len(observations)
    assert (terminated, truncated, trajectory.truncated) == (True, False, False)


def test_each_step_is_the_policys_forward(trajectory, weights):
    observations = trajectory.observations.toarray()
    for t in range(0, len(observations), 10):
        pixels = np.flatnonzero(observations[t])
        probability, hidden = policy.Forward(weights)(pixels, observations[t, pixels])
        assert probability == trajectory.probabilities[t]
        np.testing.assert_array_equal(hidden, trajectory.hidden[t])


def test_arrays_have_their_stated_types(trajectory):
    steps = len(trajectory.ups)
    assert trajectory.observations.shape == (steps, 6400)
    assert trajectory.hidden.shape == (steps, 32)
    fields = ("observations", "hidden", "probabilities", "ups", "rewards")
    assert [getattr(trajectory, name).dtype.str for name in fields] == ["<f4", "<f4", "<f8", "|b1", "|i1"]


def test_the_gradient_is_of_standardised_returns(trajectory, weights, done):
    returns, running = np.zeros(len(trajectory.rewards)), 0.0
    for t in reversed(range(len(returns))):
        running = float(trajectory.rewards[t]) if trajectory.rewards[t] else running * DISCOUNT
        returns[t] = running
    advantages = (returns - returns.mean()) / returns.std()
    by_logit = (trajectory.ups - trajectory.probabilities) * advantages
    gradient, record = done
    np.testing.assert_allclose(gradient["W2"], by_logit @ trajectory.hidden, rtol=1e-3, atol=1e-3)
    of_action = np.where(trajectory.ups, trajectory.probabilities, 1.0 - trajectory.probabilities)
    assert record.loss == pytest.approx(-float(advantages @ np.log(of_action)), rel=1e-9)


# ---- the record -------------------------------------------------------------------------------------------------


def test_the_record_counts_the_game(trajectory, weights, done):
    _, record = done
    rewards = trajectory.rewards.tolist()
    assert (record.update, record.index, record.steps) == (5, 2, len(rewards))
    assert (record.points_won, record.points_lost) == (rewards.count(1), rewards.count(-1))
    assert record.reward == record.points_won - record.points_lost
    assert max(record.points_won, record.points_lost) == 21
    assert record.weights == fingerprint(weights)


def test_a_record_is_plain_numbers_and_text(done):
    _, record = done
    as_json = dataclasses.asdict(record)
    assert json.loads(json.dumps(as_json)) == as_json
    assert {type(value) for value in as_json.values()} <= {int, float, str, dict}


def digest_by_hand(arrays: Arrays) -> str:
    """XXH3 of the XXH3 of each array, each under its name."""
    whole = b""
    for name in sorted(arrays):
        array = arrays[name]
        part = f"{name}|{array.dtype.str}|{array.shape}|".encode() + array.tobytes()
        whole += f"{name}||u1|(16,)|".encode() + xxhash.xxh3_128_digest(part)
    return xxhash.xxh3_128_hexdigest(whole)


def arrays_of(trajectory: Trajectory, gradient: Arrays) -> Arrays:
    return {"actions": trajectory.ups, "rewards": trajectory.rewards, **gradient}


def test_the_digest_is_of_actions_rewards_and_gradient(trajectory, done):
    gradient, record = done
    assert record.digest == digest_by_hand(arrays_of(trajectory, gradient))


@pytest.mark.parametrize("name", ["actions", "rewards", "W1", "W2"])
def test_the_digest_changes_with_any_byte_of(name, trajectory, done):
    gradient, record = done
    arrays = arrays_of(trajectory, gradient)
    for at in (0, -1):
        altered = arrays[name].copy()
        altered.view(np.uint8).flat[at] ^= 1
        fingerprints = {**record.arrays, name: fingerprint({name: altered})}
        assert fingerprints[name] != record.arrays[name]
        assert combine_fingerprints(fingerprints) != record.digest


def test_each_array_has_its_own_fingerprint(trajectory, done):
    gradient, record = done
    arrays = arrays_of(trajectory, gradient)
    assert record.arrays == {name: fingerprint({name: array}) for name, array in arrays.items()}


# ---- what it asserts --------------------------------------------------------------------------------------------


def test_a_truncated_game_is_not_asked_for_21_points(weights, pong, monkeypatch):
    monkeypatch.setattr(game, "MAX_STEPS", 300)
    gradient, record = TASK.run(pong, weights, ROLLOUT_ID)
    assert record.steps == 300
    assert 0 < max(record.points_won, record.points_lost) < 21
    assert abs(gradient["W1"]).max() > 0.0


def test_a_game_that_ends_early_without_the_limit_is_noticed(weights, monkeypatch):
    class Impatient(Pong):
        def advance(self, action):
            reward, terminated, truncated = super().advance(action)
            return reward, terminated or truncated, False

    monkeypatch.setattr(game, "MAX_STEPS", 300)
    with pytest.raises(PropertyFailed, match="a game played out has a side at 21"):
        TASK.run(Impatient(), weights, ROLLOUT_ID)


def test_a_game_without_a_point_gives_a_gradient_of_zeros(weights, pong, monkeypatch):
    monkeypatch.setattr(game, "MAX_STEPS", 5)
    gradient, record = TASK.run(pong, weights, ROLLOUT_ID)
    assert (record.points_won, record.points_lost, record.loss) == (0, 0, 0.0)
    assert digest(gradient) == digest({name: np.zeros_like(array) for name, array in weights.items()})


class Doubled(Pong):
    """A game that gives two points at once."""

    def advance(self, action):
        reward, *rest = super().advance(action)
        return 2 * reward, *rest


def test_a_step_of_two_points_is_noticed(weights, monkeypatch):
    monkeypatch.setattr(game, "MAX_STEPS", 300)
    with pytest.raises(PropertyFailed, match="a step wins or loses one point at most"):
        TASK.run(Doubled(), weights, ROLLOUT_ID)


def test_weights_that_are_no_numbers_are_noticed_as_a_property(weights, pong, monkeypatch):
    monkeypatch.setattr(game, "MAX_STEPS", 20)
    diverged = {**weights, "W2": np.full_like(weights["W2"], np.nan)}
    with pytest.raises(PropertyFailed, match="a probability lies within 0 and 1"):
        TASK.run(pong, diverged, ROLLOUT_ID)


@pytest.mark.parametrize("broken", [{"W1": np.inf}, {"W2": np.nan}])
def test_a_gradient_that_is_not_finite_is_noticed(weights, pong, monkeypatch, broken):
    original = policy.gradient

    def spoilt(*args):
        gradient = original(*args)
        for name, value in broken.items():
            gradient[name].flat[7] = value
        return gradient

    monkeypatch.setattr(game, "MAX_STEPS", 100)
    monkeypatch.setattr(policy, "gradient", spoilt)
    with pytest.raises(PropertyFailed, match="a gradient is finite"):
        TASK.run(pong, weights, ROLLOUT_ID)
