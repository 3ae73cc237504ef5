"""A2C's step in RLlib's learner against one written by hand, on the same episodes."""

import numpy as np
import torch
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from worker_runs import small_config

from rllib_worker import algorithms
from rllib_worker.config import parse
from rllib_worker.environments import EnvironmentFactory
from rllib_worker.networks import Actor, Critic

GAMMA, VALUE, ENTROPY, RATE = 0.9, 0.5, 0.02, 1e-3


def test_one_step_is_the_gradient_of_the_returns() -> None:
    values = small_config()
    parameters = {"gamma": GAMMA, "vf_loss_coeff": VALUE, "entropy_coeff": ENTROPY, "lr": RATE, "grad_clip": None}
    values["training"] = {
        "algorithm": "A2C",
        "total_timesteps": 9,
        "algo_params": {**parameters, "train_batch_size": 40, "hidden_sizes": [8]},
    }
    config = parse(values, "x")
    game = EnvironmentFactory(config.environment).make()
    shapes = algorithms.shapes(config, game)
    spaces = {name: (shape.spec.layout.space(), shape.action_space) for name, shape in shapes.items()}
    learner = algorithms.build(config, shapes, game.agents).build_learner(spaces=spaces)
    spec = shapes["shared"].spec
    actor, critic = Actor(spec), Critic(spec)
    module = learner.module["shared"]
    actor.load_state_dict(module.actor.state_dict())
    critic.load_state_dict(module.critic.state_dict())
    episodes = [episode(spec.layout.size, length, number) for number, length in enumerate((5, 9, 3))]
    arrays = [(one.observations[:-1], one.actions[:], one.rewards[:]) for one in episodes]

    learner.update(episodes=episodes, timesteps={"num_env_steps_sampled_lifetime": 0}, num_epochs=1)
    step_by_hand(actor, critic, [tuple(map(np.asarray, one)) for one in arrays])

    for name, mine in actor.state_dict().items():
        torch.testing.assert_close(module.actor.state_dict()[name], mine, rtol=1e-4, atol=2e-6)
    for name, mine in critic.state_dict().items():
        torch.testing.assert_close(module.critic.state_dict()[name], mine, rtol=1e-4, atol=2e-6)


def episode(size: int, length: int, number: int, reward: float = 0.0) -> SingleAgentEpisode:
    draw = np.random.default_rng(number)
    seen = draw.normal(size=(length + 1, size)).astype(np.float32)
    seen[:, :9] = 1.0  # every action is legal
    made = SingleAgentEpisode(
        observations=list(seen),
        actions=list(draw.integers(0, 9, length)),
        rewards=list(draw.normal(reward, size=length)),
        infos=[{}] * (length + 1),
        terminated=True,
        len_lookback_buffer=0,
        agent_id="player_1",
        module_id="shared",
        extra_model_outputs={"action_dist_inputs": [np.zeros(9, np.float32)] * length, "action_logp": [0.0] * length},
    )
    return made.to_numpy()


def step_by_hand(actor: Actor, critic: Critic, episodes: list[tuple[np.ndarray, ...]]) -> None:
    """One step of Adam on the mean over all steps of -log pi A + c_v A^2 - c_e H, A = return - V."""
    terms = []
    for seen, actions, rewards in episodes:
        returns, following = np.zeros(len(rewards)), 0.0
        for step in reversed(range(len(rewards))):
            following = returns[step] = rewards[step] + GAMMA * following
        vectors = torch.from_numpy(np.asarray(seen, np.float32))
        log_probabilities = torch.log_softmax(actor(vectors), dim=1)
        chosen = log_probabilities[torch.arange(len(actions)), torch.from_numpy(np.asarray(actions, np.int64))]
        error = torch.from_numpy(returns.astype(np.float32)) - critic(vectors)
        entropy = -(log_probabilities.exp() * log_probabilities).sum(dim=1)
        terms.append(-chosen * error.detach() + VALUE * error**2 - ENTROPY * entropy)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=RATE)
    torch.cat(terms).mean().backward()
    optimizer.step()
