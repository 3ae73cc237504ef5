"""Policies that play without a cluster: weights in, actions out. Ray is never started, nor RLlib imported.

actor = create_ray_actor(RayPolicyConfig(run=Path("var/trainer/runs/tictactoe"), seed=1))
actor.begin(game=0)
action = actor.act(vector)            # what rllib_worker.environments.Game gave for the agent

controller = RayPolicyController({"player_1": RayPolicyConfig(...), "player_2": RayPolicyConfig(...)})
actions = controller.act(observations)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import ndtri
from torch import nn

from bitexact.cli.exits import BadInput
from bitexact.determinism.arrays import Arrays
from rllib_worker import policy_file
from rllib_worker.networks import Actor, QNetwork
from rllib_worker.policy_file import SavedPolicy
from rllib_worker.seeds import Address, Purpose


@dataclass(frozen=True)
class RayPolicyConfig:
    """Which policy plays, and how."""

    run: Path | None = None  # of a run's checkpoint ...
    file: Path | None = None  # ... or a file that a run exported
    policy_id: str | None = None  # by default the first that learns
    iteration: int | None = None  # by default the newest checkpoint's
    greedy: bool = False  # the likeliest action; otherwise drawn. DQN's is always the best
    seed: int = 0
    number: int = 0  # two actors of one seed draw differently if their numbers differ


class RayPolicyActor:
    """One policy that plays one agent."""

    def __init__(self, policy: SavedPolicy, config: RayPolicyConfig) -> None:
        self._policy, self._config = policy, config
        self._network, part = _network(policy)
        _fill(self._network, _below(policy.weights, part))
        self.begin(0)

    def begin(self, game: int) -> None:
        """A game begins: what is drawn in it is a function of the seed, its number and the actor's."""
        address = Address(self._config.seed, game, self._config.number)
        self._draws: Iterator[float] = iter(address.stream(Purpose.MATCH_ACTIONS))

    def act(self, vector: np.ndarray) -> Any:
        """The action for what the agent sees: a whole number, or an array of a continuous action."""
        with torch.no_grad():
            inputs = self._network(torch.from_numpy(vector).unsqueeze(0))[0].numpy().astype(np.float64)
        if not self._policy.spec.discrete:
            return self._continuous(inputs)
        if self._config.greedy or isinstance(self._network, QNetwork):
            return int(inputs.argmax())
        return _drawn(inputs, next(self._draws))

    def _continuous(self, inputs: np.ndarray) -> np.ndarray:
        """Mean plus deviation times a normal draw, on the action's own scale as RLlib has it."""
        mean, log_deviation = np.split(inputs, 2)
        if not self._config.greedy:
            normal = ndtri(np.array([max(next(self._draws), 2.0**-54) for _ in mean]))
            mean = mean + np.exp(log_deviation) * normal
        low, high = np.array(self._policy.low), np.array(self._policy.high)
        scaled: np.ndarray = (low + (np.clip(mean, -1.0, 1.0) + 1.0) * (high - low) / 2.0).astype(np.float32)
        return scaled


class RayPolicyController:
    """A policy for each agent of a game."""

    def __init__(self, policies: Mapping[str, RayPolicyConfig]) -> None:
        self._actors = {agent: create_ray_actor(config) for agent, config in policies.items()}

    def begin(self, game: int) -> None:
        """A game begins."""
        for actor in self._actors.values():
            actor.begin(game)

    def act(self, observations: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """The actions of those that are to act."""
        return {agent: self._actors[agent].act(vector) for agent, vector in observations.items()}


def create_ray_actor(config: RayPolicyConfig) -> RayPolicyActor:
    """An actor from a run or a file. Raises BadInput if it cannot be read."""
    if (config.run is None) == (config.file is None):
        raise BadInput("a policy comes from a run or from a file: name one of them.")
    if config.file is not None:
        return RayPolicyActor(policy_file.load(config.file), config)
    return RayPolicyActor(policy_file.from_run(config.run or Path(), config.policy_id, config.iteration), config)


def _network(policy: SavedPolicy) -> tuple[nn.Module, str]:
    """A network of the policy's shape, and the part of its weights that it takes."""
    return (QNetwork(policy.spec), "q.") if policy.algorithm == "DQN" else (Actor(policy.spec), "actor.")


def _below(weights: Arrays, part: str) -> Arrays:
    return {name.removeprefix(part): array for name, array in weights.items() if name.startswith(part)}


def _fill(network: nn.Module, weights: Arrays) -> None:
    network.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    network.eval()


def _drawn(logits: np.ndarray, uniform: float) -> int:
    """The action whose part of [0, 1) a uniform falls into. One of probability 0 has none, whatever is rounded."""
    weights = np.exp(logits - logits.max())
    ends = np.cumsum(weights)
    return min(int(np.searchsorted(ends, uniform * ends[-1], side="right")), int(np.flatnonzero(weights)[-1]))
