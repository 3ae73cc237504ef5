"""A `Game` as RLlib's MultiAgentEnv. The seed of the next game is set by the env runner; RLlib's own is not used."""

from typing import Any

import numpy as np
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_worker.config import RayWorkerConfig
from rllib_worker.environments import EnvironmentFactory, Vectors
from rllib_worker.policies import needs_shared_value

ENV_NAME, CONFIG = "rllib_worker_game", "config"
_Flags = dict[str, bool]


class GameEnv(MultiAgentEnv):
    """What an env runner plays."""

    def __init__(self, env_config: Any) -> None:
        super().__init__()
        config = RayWorkerConfig.model_validate(env_config[CONFIG])
        factory = EnvironmentFactory(config.environment, needs_shared_value(config))
        self.game = factory.make(render=config.fastlane_enabled)
        self.possible_agents = list(self.game.agents)
        self.agents = list(self.game.agents)
        self.observation_spaces = {agent: self.game.layouts[agent].space() for agent in self.game.agents}
        self.action_spaces = dict(self.game.action_spaces)
        self.next_seed = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Vectors, dict[str, Any]]:
        """Begin the game that `next_seed` decides."""
        observations = self.game.reset(self.next_seed)
        self.agents = list(self.game.agents)
        return observations, {}

    def step(self, action_dict: dict[str, Any]) -> tuple[Vectors, dict[str, float], _Flags, _Flags, dict[str, Any]]:
        """One step of the game."""
        step = self.game.step(action_dict)
        cut = any(step.truncated.values())
        terminated = step.terminated | {"__all__": step.over and not cut}
        truncated = step.truncated | {"__all__": step.over and cut}
        self.agents = [one for one in self.agents if not (one in step.terminated or one in step.truncated)]
        return step.observations, step.rewards, terminated, truncated, {}

    def render(self) -> np.ndarray:
        """The picture now."""
        return self.game.render()

    def close(self) -> None:
        """Let go of the game."""
        self.game.close()
