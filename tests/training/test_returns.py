"""Returns and advantages against their sums, written out."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.returns import discount_returns, estimate_advantages


def returns_written_out(rewards: list[int], discount: float) -> list[float]:
    """For each t the sum over k >= t of discount^(k - t) reward_k, up to the next point."""
    returns = []
    for t in range(len(rewards)):
        point = next((k for k in range(t, len(rewards)) if rewards[k] != 0), len(rewards) - 1)
        returns.append(math.fsum(discount ** (k - t) * rewards[k] for k in range(t, point + 1)))
    return returns


@given(st.lists(st.sampled_from([0, 0, 0, 0, 1, -1]), max_size=100), st.floats(0.0, 1.0))
def test_returns_are_the_double_sum(rewards, discount):
    assert discount_returns(rewards, discount) == pytest.approx(
        returns_written_out(rewards, discount), rel=1e-12, abs=1e-300
    )


def test_returns_by_hand():
    assert discount_returns([0, 0, 1, 0, -1, 0], 0.5) == [0.25, 0.5, 1.0, -0.5, -1.0, 0.0]


def test_advantages_are_the_sums_written_out():
    rewards = [0, 0, 1, 0, 0, 0, -1, 0, 0]
    values = [0.5, -0.2, 0.7, 0.1, 0.0, 0.3, -0.4, 0.6, -0.1]
    discount, decay = 0.9, 0.8
    ends = [2, 2, 2, 6, 6, 6, 6, 8, 8]  # where the point, or the game, of each step ends
    deltas = [rewards[t] + (discount * values[t + 1] if t < ends[t] else 0.0) - values[t] for t in range(len(rewards))]
    expected = [
        sum((discount * decay) ** (k - t) * deltas[k] for k in range(t, ends[t] + 1)) for t in range(len(rewards))
    ]
    found, targets = estimate_advantages(rewards, values, discount, decay)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(targets, np.array(expected) + values, rtol=1e-12)


def test_with_full_trust_in_rewards_the_value_target_is_the_discounted_return():
    rewards = [0, 0, 1, 0, -1, 0]
    _, targets = estimate_advantages(rewards, [0.3, 0.1, -0.2, 0.9, 0.5, -0.6], 0.99, 1.0)
    np.testing.assert_allclose(targets, discount_returns(rewards, 0.99), atol=1e-12)
