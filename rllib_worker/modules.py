"""The networks as RLlib's modules: for PPO, A2C and IMPALA; with a target network for APPO; for DQN.

Exploration draws from this process's torch generator, which `env_runner.py` sets at each episode.
"""

from typing import Any

import torch
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_NEXT_PREDS, QF_PREDS, QF_TARGET_NEXT_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import (
    TARGET_NETWORK_ACTION_DIST_INPUTS,
    InferenceOnlyAPI,
    QNetAPI,
    TargetNetworkAPI,
    ValueFunctionAPI,
)
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule

from rllib_worker.networks import Actor, Critic, QNetwork, Spec

Batch = dict[str, Any]


class ActorCriticModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """A policy and a value function, with nothing in common."""

    def setup(self) -> None:
        """Make both networks."""
        spec = Spec.parse(self.model_config["spec"])
        self.actor, self.critic = Actor(spec), Critic(spec)

    def get_non_inference_attributes(self) -> list[str]:
        """What runners do without."""
        return ["critic"]

    def _forward(self, batch: Batch, **_: Any) -> Batch:
        return {Columns.ACTION_DIST_INPUTS: self.actor(batch[Columns.OBS])}

    def compute_values(self, batch: Batch, embeddings: Any = None) -> torch.Tensor:
        """[B, size] -> [B]."""
        values: torch.Tensor = self.critic(batch[Columns.OBS])
        return values


class TargetActorCriticModule(ActorCriticModule, TargetNetworkAPI):
    """The same with an older copy of the policy, for APPO."""

    def make_target_networks(self) -> None:
        """Copy the policy."""
        self.old_actor = make_target_network(self.actor)

    def get_non_inference_attributes(self) -> list[str]:
        """What runners do without."""
        return [*super().get_non_inference_attributes(), "old_actor"]

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """What is copied where."""
        return [(self.actor, self.old_actor)]

    def forward_target(self, batch: Batch) -> Batch:
        """The older policy's inputs of the distribution."""
        return {TARGET_NETWORK_ACTION_DIST_INPUTS: self.old_actor(batch[Columns.OBS])}


class QModule(TorchRLModule, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """Values of actions; legal ones are explored by chance `epsilon`, set at each iteration."""

    epsilon = 0.0

    def setup(self) -> None:
        """Make the online network."""
        self.q = QNetwork(Spec.parse(self.model_config["spec"]))

    def make_target_networks(self) -> None:
        """Copy the online network."""
        self.old_q = make_target_network(self.q)

    def get_non_inference_attributes(self) -> list[str]:
        """What runners do without."""
        return ["old_q"]

    def get_target_network_pairs(self) -> list[tuple[Any, Any]]:
        """What is copied where."""
        return [(self.q, self.old_q)]

    def forward_target(self, batch: Batch) -> Batch:
        """The older network's values."""
        return {QF_PREDS: self.old_q(batch[Columns.OBS])}

    def compute_q_values(self, batch: Batch) -> Batch:
        """The online network's values."""
        return {QF_PREDS: self.q(batch[Columns.OBS])}

    def _forward_inference(self, batch: Batch, **_: Any) -> Batch:
        with torch.no_grad():
            return {Columns.ACTIONS: self.q(batch[Columns.OBS]).argmax(dim=1)}

    def _forward_exploration(self, batch: Batch, **_: Any) -> Batch:
        vectors = batch[Columns.OBS]
        greedy: torch.Tensor = self._forward_inference(batch)[Columns.ACTIONS]
        mask = vectors[:, self.q.spec.layout.parts()[0]]
        legal = mask if mask.shape[1] else torch.ones(len(vectors), self.q.spec.outputs)
        drawn = torch.multinomial(legal, 1).squeeze(1)
        return {Columns.ACTIONS: torch.where(torch.rand(len(vectors)) < self.epsilon, drawn, greedy)}

    def _forward_train(self, batch: Batch, **_: Any) -> Batch:
        output = {
            QF_PREDS: self.q(batch[Columns.OBS]),
            QF_TARGET_NEXT_PREDS: self.old_q(batch[Columns.NEXT_OBS]),
        }
        if self.model_config["double_q"]:
            output[QF_NEXT_PREDS] = self.q(batch[Columns.NEXT_OBS])
        return output
