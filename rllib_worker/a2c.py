"""A2C, which RLlib dropped: one step on the whole batch, with the loss of Mnih et al. (2016), in RLlib's own learner.

loss = mean(-log pi(a|s) * (R - V(s)) + c_v * (R - V(s))^2 - c_e * H(pi(.|s))), R the discounted sum of rewards

It is no setting of PPO: RLlib standardises PPO's advantages, A2C's are as they are.
"""

from typing import Any

import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing


class A2CTorchLearner(PPOTorchLearner):
    """PPO's learner with A2C's loss. The targets are the returns: lambda is 1."""

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> torch.Tensor:
        """The loss above, over the steps that were played; RLlib adds one to each episode for its bookkeeping."""
        module = self.module[module_id].unwrapped()
        distribution = module.get_train_action_dist_cls().from_logits(fwd_out[Columns.ACTION_DIST_INPUTS])
        error = batch[Postprocessing.VALUE_TARGETS] - module.compute_values(batch)
        log_probability, entropy = distribution.logp(batch[Columns.ACTIONS]), distribution.entropy()
        terms = {
            "policy_loss": -log_probability * error.detach(),
            "vf_loss": error.square(),
            "entropy": entropy,
        }
        played = batch.get(Columns.LOSS_MASK, torch.ones_like(entropy, dtype=torch.bool))
        means = {name: values[played].mean() for name, values in terms.items()}
        self.metrics.log_dict(means, key=module_id, window=1)
        weighted = config.vf_loss_coeff * means["vf_loss"] - config.entropy_coeff * means["entropy"]
        loss: torch.Tensor = means["policy_loss"] + weighted
        return loss
