"""REINFORCE, as in Karpathy's "Pong from pixels": one gradient a game, their sum, one step of RMSProp a batch.

Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning" (1992). Here are
its settings and what it makes of a game; reinforce_batch.py sums, rmsprop.py steps.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

import policy
from bitexact.cli.ranges import real
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.exact_math import standardise
from pong.play import Trajectory
from training.base_settings import BaseSettings
from training.returns import discount_returns

_BELOW_1 = real(0.0, float(np.nextafter(1.0, 0.0)), "a number from 0 to below 1")


@dataclass(frozen=True)
class ReinforceSettings(BaseSettings):
    """What only REINFORCE needs to be told."""

    decay_rate: Annotated[float, _BELOW_1] = 0.99
    """How much of RMSProp's running mean of squares stays at each update (reinforce)."""


def differentiate(weights: Arrays, trajectory: Trajectory, discount: float) -> tuple[Arrays, np.ndarray]:
    """The gradient of the steps' log-probabilities times their standardised returns, and these, float64 [T]."""
    advantages = standardise(discount_returns(trajectory.rewards.tolist(), discount))
    observations, hidden = trajectory.observations, trajectory.hidden
    gradient = policy.gradient(weights, observations, hidden, trajectory.ups, trajectory.probabilities, advantages)
    return gradient, advantages
