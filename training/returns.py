"""What a step was good for: discounted returns, and advantages by generalised estimation. T is a game's steps.

A point ends what came before it: nothing of a return or an advantage reaches back over one.
"""

from collections.abc import Sequence

import numpy as np


def discount_returns(rewards: Sequence[float], discount: float) -> list[float]:
    """What each step still earned, float64 [T]: R_t = r_t + discount R_{t+1}, begun anew at each point."""
    returns = [0.0] * len(rewards)
    running = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if rewards[t] != 0:
            running = 0.0
        running = running * discount + rewards[t]
        returns[t] = running
    return returns


def estimate_advantages(
    rewards: Sequence[float], values: Sequence[float], discount: float, gae_lambda: float
) -> tuple[np.ndarray, np.ndarray]:
    """How much better each step went than expected, and what its state was worth: float64 [T] each.

    delta_t = r_t + discount v_{t+1} - v_t;  A_t = delta_t + discount gae_lambda A_{t+1};  A_t + v_t is the value target
    (Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation", 2016). After a
    point, and at the game's end, v and A are zero.
    """
    result = [0.0] * len(rewards)
    next_value = next_advantage = 0.0
    for t in range(len(rewards) - 1, -1, -1):
        if rewards[t] != 0:
            next_value = next_advantage = 0.0
        delta = rewards[t] + discount * next_value - values[t]
        next_advantage = result[t] = delta + discount * gae_lambda * next_advantage
        next_value = values[t]
    advantages = np.array(result)
    return advantages, advantages + np.array(values)
