"""The networks, in torch alone: what RLlib trains and what a policy actor plays with.

    network = build(Spec(layout, actions=9, ...), kind=ACTOR_CRITIC)
    inputs = network.action_inputs(vectors)      # [B, actions] logits, or [B, 2 x dimensions] means and log deviations

Masks are applied here, so that no caller can forget them: an illegal action has the logit or the value `ILLEGAL`.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from gymnasium import spaces
from torch import nn

from rllib_worker.observations import SIDE, STACKED, Layout

ILLEGAL = -1e9  # finite: an infinity times zero is NaN in a loss
ACTOR_CRITIC, Q = "actor_critic", "q"


@dataclass(frozen=True)
class Spec:
    """What a network is made from."""

    layout: Layout
    outputs: int  # of the policy: actions, or twice the dimensions of a continuous one
    discrete: bool
    hidden_sizes: tuple[int, ...]
    dueling: bool = False

    @classmethod
    def of(cls, layout: Layout, action_space: spaces.Space[Any], parameters: Mapping[str, Any]) -> "Spec":
        """The network for an agent's spaces."""
        discrete = isinstance(action_space, spaces.Discrete)
        outputs = int(action_space.n) if isinstance(action_space, spaces.Discrete) else 2 * _dimensions(action_space)
        hidden, dueling = tuple(parameters["hidden_sizes"]), bool(parameters.get("dueling", False))
        return cls(layout, outputs, discrete, hidden, dueling)

    def dump(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "Spec":
        """The reverse of `dump`."""
        layout = Layout(**values["layout"])
        return cls(layout, values["outputs"], values["discrete"], tuple(values["hidden_sizes"]), values["dueling"])


def _dimensions(space: spaces.Space[Any]) -> int:
    return int(torch.tensor(space.shape or ()).prod())


def _mlp(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, narrow in itertools.pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.Tanh()]
    return nn.Sequential(*layers)


class _Body(nn.Module):
    """An observation's features: [B, size] -> [B, last hidden size]."""

    def __init__(self, size: int, picture: bool, hidden_sizes: Sequence[int]) -> None:
        super().__init__()
        self.eyes: nn.Module = nn.Identity()
        if picture:
            self.eyes = nn.Sequential(
                nn.Unflatten(1, (STACKED, SIDE, SIDE)),
                *(nn.Conv2d(STACKED, 16, 4, 2), nn.ReLU(), nn.Conv2d(16, 32, 4, 2), nn.ReLU()),
                *(nn.Conv2d(32, 32, 3, 2), nn.ReLU(), nn.Flatten()),
            )
            size = 32 * 4 * 4
        self.layers = _mlp([size, *hidden_sizes])

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.layers(self.eyes(vectors))
        return features


class _Head(nn.Module):
    """A body and one linear layer."""

    def __init__(self, size: int, spec: Spec, outputs: int, scale: float) -> None:
        super().__init__()
        self.body = _Body(size, spec.layout.picture, spec.hidden_sizes)
        self.out = nn.Linear(spec.hidden_sizes[-1], outputs)
        with torch.no_grad():
            self.out.weight.mul_(scale)
            self.out.bias.zero_()

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.out(self.body(vectors))
        return values


class Actor(nn.Module):
    """Own observation -> inputs of the action's distribution. Agents that share a value function have one head each."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        heads = max(1, spec.layout.agents)
        # small at first: every action is about as likely as another
        self.heads = nn.ModuleList(_Head(spec.layout.own, spec, spec.outputs, 0.01) for _ in range(heads))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, size of the layout] -> [B, outputs]."""
        mask, agent, own, _ = self.spec.layout.parts()
        inputs: torch.Tensor
        if self.spec.layout.agents:
            every = torch.stack([head(vectors[:, own]) for head in self.heads], dim=1)  # [B, agents, outputs]
            inputs = (every * vectors[:, agent].unsqueeze(-1)).sum(1)
        else:
            inputs = self.heads[0](vectors[:, own])
        return _masked(inputs, vectors[:, mask])


class Critic(nn.Module):
    """The value: of the own observation, or of everybody's where agents share a value function."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        layout = spec.layout
        self.head = _Head(layout.agents + layout.everybody if layout.agents else layout.own, spec, 1, 1.0)

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, size of the layout] -> [B]."""
        _, agent, own, everybody = self.spec.layout.parts()
        seen = vectors[:, own]
        if self.spec.layout.agents:
            seen = torch.cat([vectors[:, agent], vectors[:, everybody]], dim=1)
        value: torch.Tensor = self.head(seen).squeeze(-1)
        return value


class QNetwork(nn.Module):
    """The value of each action; dueling: a value and advantages of mean zero."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.spec = spec
        self.advantage = _Head(spec.layout.own, spec, spec.outputs, 1.0)
        self.value = _Head(spec.layout.own, spec, 1, 1.0) if spec.dueling else None

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """[B, size of the layout] -> [B, actions]."""
        mask, _, own, _ = self.spec.layout.parts()
        values: torch.Tensor = self.advantage(vectors[:, own])
        if self.value is not None:
            values = values - values.mean(dim=1, keepdim=True) + self.value(vectors[:, own])
        return _masked(values, vectors[:, mask])


def _masked(inputs: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return torch.where(mask > 0, inputs, ILLEGAL) if mask.shape[1] else inputs
