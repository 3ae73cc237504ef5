"""A rollout: one game played by a policy, and what is learned from. A pure function of (weights, seed, update, index).

Training, replay, tests and benchmarks call it; none of it needs Ray.

    trajectory = play(Pong(), weights, seed=0, update=1, index=0)
    gradient, record = compute_gradient(Pong(), weights, seed=0, update=1, index=0, discount=0.99)
    steps, record = play_steps(Pong(), weights, seed=0, update=1, index=0, discount=0.99, gae_lambda=0.95)
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

import invariants
import policy
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.exact_math import dot, standardise
from bitexact.determinism.streams import Purpose, Stream
from pong.game import PIXELS, Pong
from training import ppo
from training.ppo import GameSteps


@dataclass(frozen=True)
class Trajectory:
    """What happened in one game of T steps."""

    observations: sparse.csr_array  # [T, D], float32 of +1 and -1: what the policy saw before each step
    hidden: np.ndarray  # float32 [T, H]
    probabilities: np.ndarray  # float64 [T], of "up"
    ups: np.ndarray  # bool [T], the actions
    rewards: np.ndarray  # int8 [T]
    truncated: bool  # ended by the limit of steps, not by a side's 21 points


@dataclass(frozen=True)
class RolloutRecord:
    """What the driver keeps of a rollout beside what is learned from: plain numbers and digests."""

    update: int
    index: int
    reward: int
    steps: int
    points_won: int
    points_lost: int
    loss: float  # -sum over t of advantage_t log p(action_t); a statistic, not on the way to the weights
    weights: str  # fingerprint of the weights it was played with
    digest: str  # fingerprint of its actions, its rewards, and what is learned from
    arrays: dict[str, str]  # the same, array by array: names what differs


def play(
    game: Pong, weights: Arrays, seed: int, update: int, index: int, thresholds: Iterator[float] | None = None
) -> Trajectory:
    """Play one game: up whenever the policy's probability is above the next threshold.

    A policy of PIXELS inputs sees what changed; one of more, all that `Pong.seen` gives. The thresholds of training are
    the uniform numbers of the policy's stream; evaluation brings its own.
    """
    game.reset(seed=seed, options={"update": update, "index": index})
    forward, inputs = policy.Forward(weights), len(weights["W1"])
    thresholds = thresholds or iter(Stream(seed, Purpose.POLICY, update, index))
    sights, hiddens, probabilities, ups, rewards = [], [], [], [], []
    over = truncated = False
    while not over:
        sight = game.seen() if inputs > PIXELS else game.changed
        probability, hidden = forward(*sight)
        up = next(thresholds) < probability
        reward, terminated, truncated = game.advance(up)
        over = terminated or truncated
        sights.append(sight)
        hiddens.append(hidden)
        probabilities.append(probability)
        ups.append(up)
        rewards.append(reward)
    return Trajectory(
        observations=_matrix(sights, inputs),
        hidden=np.array(hiddens),
        probabilities=np.array(probabilities),
        ups=np.array(ups),
        rewards=np.array(rewards, np.int8),
        truncated=truncated,
    )


def _matrix(sights: list[tuple[np.ndarray, np.ndarray]], inputs: int) -> sparse.csr_array:
    """One row a step, float32 [T, D]."""
    pixels, signs = zip(*sights, strict=True)
    row_ends = np.cumsum([0, *map(len, pixels)])
    matrix = (np.concatenate(signs), np.concatenate(pixels), row_ends)
    observations = sparse.csr_array(matrix, shape=(len(sights), inputs))
    observations.eliminate_zeros()
    return observations


def compute_gradient(
    game: Pong, weights: Arrays, seed: int, update: int, index: int, discount: float
) -> tuple[Arrays, RolloutRecord]:
    """Play one game and return the gradient of its steps' log-probabilities times their standardised returns."""
    trajectory = play(game, weights, seed, update, index)
    returns = policy.discounted_returns(trajectory.rewards.tolist(), discount)
    advantages = standardise(returns)
    gradient = policy.gradient(
        weights, trajectory.observations, trajectory.hidden, trajectory.ups, trajectory.probabilities, advantages
    )
    record = _record(weights, trajectory, advantages, gradient, update, index)
    where = {"update": update, "index": index}
    invariants.a_gradient_has_the_shape_of_the_weights(gradient, weights, where)
    invariants.a_gradient_is_finite(gradient, where)
    return gradient, record


def play_steps(
    game: Pong, weights: Arrays, seed: int, update: int, index: int, discount: float, gae_lambda: float
) -> tuple[GameSteps, RolloutRecord]:
    """Play one game and return its steps, each with how much better it went than expected."""
    trajectory = play(game, weights, seed, update, index)
    values = dot(trajectory.hidden, weights["V"]).tolist()
    advantages, worth = ppo.advantages(trajectory.rewards.tolist(), values, discount, gae_lambda)
    steps = GameSteps.of(trajectory.observations, trajectory.ups, trajectory.probabilities, advantages, worth)
    return steps, _record(weights, trajectory, advantages, vars(steps), update, index)


def _record(
    weights: Arrays, trajectory: Trajectory, advantages: np.ndarray, learned_from: Arrays, update: int, index: int
) -> RolloutRecord:
    """A rollout's record, once all that must hold of any rollout was found to hold."""
    rewards, ups, probabilities = trajectory.rewards, trajectory.ups, trajectory.probabilities
    of_action = np.where(ups, probabilities, 1.0 - probabilities)
    arrays = {"actions": ups, "rewards": rewards} | learned_from
    fingerprints = {name: fingerprint({name: array}) for name, array in arrays.items()}
    record = RolloutRecord(
        update=update,
        index=index,
        reward=int(rewards.sum()),
        steps=len(rewards),
        points_won=int((rewards > 0).sum()),
        points_lost=int((rewards < 0).sum()),
        loss=-math.fsum((advantages * np.log(of_action)).tolist()),
        weights=fingerprint(weights),
        digest=combined(fingerprints),
        arrays=fingerprints,
    )
    _check(trajectory, record)
    return record


def combined(fingerprints: dict[str, str]) -> str:
    """One fingerprint of several named ones."""
    names = {name: np.frombuffer(bytes.fromhex(value), np.uint8) for name, value in fingerprints.items()}
    return fingerprint(names)


def _check(trajectory: Trajectory, record: RolloutRecord) -> None:
    where: dict[str, Any] = {"update": record.update, "index": record.index}
    invariants.a_step_wins_or_loses_one_point_at_most(trajectory.rewards, where)
    invariants.a_probability_lies_within_0_and_1(trajectory.probabilities, where)
    invariants.a_reward_lies_within_21_points(record.reward, where)
    if not trajectory.truncated:
        invariants.a_game_played_out_has_a_side_at_21(record.points_won, record.points_lost, where)
    invariants.a_point_is_won(record.points_won, where)
