"""Masks, the shared value function, and state as arrays."""

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

from rllib_worker import tree
from rllib_worker.networks import Actor, Critic, QNetwork, Spec
from rllib_worker.observations import Layout

TEAM = Spec(Layout(mask=0, agents=3, own=4, everybody=12), outputs=5, discrete=True, hidden_sizes=(8,))


def team(own: torch.Tensor) -> torch.Tensor:
    """The vectors of 3 agents with these own observations, [3, 4]."""
    return torch.cat([torch.eye(3), own, own.flatten().repeat(3, 1)], dim=1)


def test_what_b_sees_changes_the_value_of_a_and_never_its_action_probabilities() -> None:
    torch.manual_seed(0)
    actor, critic, own = Actor(TEAM), Critic(TEAM), torch.randn(3, 4)
    other = own.clone()
    other[1] += 1.0
    before, after = team(own), team(other)
    assert torch.equal(actor(before)[0], actor(after)[0])
    assert not torch.equal(actor(before)[1], actor(after)[1])
    assert not torch.equal(critic(before)[0], critic(after)[0])


def test_agents_of_a_team_have_an_actor_each() -> None:
    torch.manual_seed(0)
    same = team(torch.ones(3, 4))
    probabilities = Actor(TEAM)(same)
    assert not torch.equal(probabilities[0], probabilities[1])


@pytest.mark.parametrize("dueling", [False, True])
def test_an_illegal_action_has_no_probability_and_is_never_the_best(dueling: bool) -> None:
    torch.manual_seed(0)
    spec = Spec(Layout(mask=6, agents=0, own=4), 6, True, (8,), dueling)
    mask = (torch.rand(500, 6) < 0.4).float()
    mask[:, 2] = 1.0
    vectors = torch.cat([mask, torch.randn(500, 4) * 50], dim=1)
    probabilities = torch.softmax(Actor(spec)(vectors), dim=1)
    assert (probabilities[mask == 0] == 0).all()
    best = QNetwork(spec)(vectors).argmax(dim=1)
    assert mask[torch.arange(500), best].all()


def test_state_comes_back_as_it_was() -> None:
    state: dict[str, Any] = {
        "weights": OrderedDict(w=np.arange(6, dtype=np.float32).reshape(2, 3)),
        "optimizer": {0: {"step": 3.0, "betas": (0.9, 0.999), "on": True, "none": None}},
        "scalar": np.float64(0.1),
        "buffer": {"episodes": [{"obs": np.ones((n, 2)), "t": [0, "S", 1]} for n in range(1, 4)]},
    }
    arrays = tree.flatten(state, joined=("buffer",))
    assert len([name for name in arrays if name.startswith("buffer/")]) == 1
    found = tree.restore(arrays)
    np.testing.assert_equal(found, {**state, "weights": dict(state["weights"])})
    assert type(found["scalar"]) is np.float64
    assert type(found["optimizer"][0]["betas"]) is tuple


@pytest.mark.parametrize("value", [object(), lambda: 0, np.array([object()]), {(1, 2): 3}])
def test_what_a_checkpoint_may_not_hold_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="a checkpoint cannot hold"):
        tree.flatten({"x": value})
