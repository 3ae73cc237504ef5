"""A `Game` as RLlib's MultiAgentEnv. The seed of the next game is set by the env runner; RLlib's own is not used."""

from pathlib import Path
from typing import Any

from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rllib_worker.config import RayWorkerConfig
from rllib_worker.environments import EnvironmentFactory, Vectors
from rllib_worker.fastlane import Writer
from rllib_worker.policies import needs_shared_value

ENV_NAME, CONFIG, FRAMES = "rllib_worker_game", "config", "frames"
_Flags = dict[str, bool]


class GameEnv(MultiAgentEnv):
    """What an env runner plays."""

    def __init__(self, env_config: Any) -> None:
        super().__init__()
        config = RayWorkerConfig.model_validate(env_config[CONFIG])
        factory = EnvironmentFactory(config.environment, needs_shared_value(config))
        first = env_config.worker_index == min(1, config.resources.num_workers)  # the driver's, 0, plays if alone
        shown = config.fastlane_enabled and first
        self._frames = Writer.at(Path(env_config[FRAMES]), config.fastlane_throttle_ms) if shown else None
        self.game = factory.make(render=shown)
        self.possible_agents = list(self.game.agents)
        self.agents = list(self.game.agents)
        self.observation_spaces = {agent: self.game.layouts[agent].space() for agent in self.game.agents}
        self.action_spaces = dict(self.game.action_spaces)
        self.next_seed = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Vectors, dict[str, Any]]:
        """Begin the game that `next_seed` decides."""
        observations = self.game.reset(self.next_seed)
        self.agents = list(self.game.agents)
        self._show()
        return observations, {}

    def step(self, action_dict: dict[str, Any]) -> tuple[Vectors, dict[str, float], _Flags, _Flags, dict[str, Any]]:
        """One step of the game."""
        step = self.game.step(action_dict)
        cut = any(step.truncated.values())
        terminated = step.terminated | {"__all__": step.over and not cut}
        truncated = step.truncated | {"__all__": step.over and cut}
        self.agents = [one for one in self.agents if not (one in step.terminated or one in step.truncated)]
        self._show()
        return step.observations, step.rewards, terminated, truncated, {}

    def _show(self) -> None:
        if self._frames:
            self._frames.offer(self.game.render)

    def close(self) -> None:
        """Let go of the game."""
        self.game.close()
