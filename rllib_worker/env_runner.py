"""RLlib's multi-agent env runner, with every draw at an address and a record of each episode.

Whole episodes are played where the algorithm is promised to be reproducible: at each iteration a runner starts from
nothing but the weights and its address.
"""

import os
from dataclasses import dataclass
from typing import Any

from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner

from rllib_worker import policies
from rllib_worker.adapter import CONFIG
from rllib_worker.config import RayWorkerConfig
from rllib_worker.seeds import Address, Purpose


@dataclass(frozen=True)
class Iteration:
    """What runners are told when an iteration begins."""

    number: int
    snapshots: int  # in the league, ever added
    epsilon: float  # part of random actions, for DQN


@dataclass(frozen=True)
class EpisodeRecord:
    """An episode that was played to its end."""

    iteration: int
    runner: int
    episode: int
    modules: dict[str, str]  # who played each agent
    returns: dict[str, float]
    length: int


class SeededEnvRunner(MultiAgentEnvRunner):
    """An env runner whose games, actions and opponents are functions of the seed."""

    def __init__(self, config: Any, **kwargs: Any) -> None:
        self._run = RayWorkerConfig.model_validate(config.env_config[CONFIG])
        self._whole = bool(config.env_config["whole_episodes"])
        self._begun = Iteration(1, 1, 0.0)
        self._episode = 0
        self._records: list[EpisodeRecord] = []
        self._unfinished: dict[str, tuple[dict[str, float], int]] = {}
        super().__init__(config=config, **kwargs)

    def begin(self, iteration: Iteration) -> int:
        """An iteration begins: episodes are counted anew. Returns this process's number."""
        self._begun, self._episode = iteration, 0
        self._records = []
        for module in self.module.values():
            if hasattr(module, "epsilon"):
                module.epsilon = iteration.epsilon
        return os.getpid()

    def records(self) -> list[EpisodeRecord]:
        """The episodes that ended in this iteration, in order."""
        return list(self._records)

    @property
    def _number(self) -> int:
        return self.worker_index or 0

    def _sample(self, *, num_timesteps: int | None = None, num_episodes: int | None = None, **how: Any) -> list[Any]:
        if not self._whole:
            return self._recorded(super()._sample(num_timesteps=num_timesteps, num_episodes=num_episodes, **how))
        how.pop("force_reset", None)  # whole episodes always begin with one
        episodes: list[Any] = []
        while sum(map(len, episodes)) < (num_timesteps or 1):
            episodes += self._recorded(super()._sample(num_episodes=1, **how))
            self._episode -= 1  # RLlib has begun one more, which is begun again
        Address(self._run.seed, self._begun.number).seed_generators(Purpose.LEARNER)  # it may share this process
        return episodes

    def _new_episode(self, env_index: int, episodes: Any = None) -> None:
        """RLlib makes a game's episode; here that game's seed, draws and policies are decided."""
        address = Address(self._run.seed, self._begun.number, self._number, self._episode)
        self._episode += 1
        address.seed_generators(Purpose.ACTIONS)
        env = self.env.envs[env_index].unwrapped
        env.next_seed = address.number(Purpose.GAME)
        drawn = policies.assignment(self._run, env.possible_agents, address, self._begun.snapshots)
        super()._new_episode(env_index, episodes)
        made = (episodes if episodes is not None else self._ongoing_episodes)[env_index]
        made.agent_to_module_mapping_fn = Drawn(drawn)
        made.id_ = f"{address.iteration}.{address.runner}.{address.episode}"

    def _recorded(self, pieces: list[Any]) -> list[Any]:
        """Note what ended; where steps are handed over before an episode's end, its pieces add up."""
        for piece in pieces:
            returns, length = self._unfinished.pop(piece.id_, ({}, 0))
            for agent, one in piece.agent_episodes.items():
                returns[agent] = returns.get(agent, 0.0) + float(one.get_return())
            length += len(piece)
            if not piece.is_done:
                self._unfinished[piece.id_] = (returns, length)
                continue
            played = {agent: piece.module_for(agent) for agent in piece.agent_ids}
            iteration, _, episode = map(int, piece.id_.split("."))
            self._records.append(EpisodeRecord(iteration, self._number, episode, played, returns, length))
        return pieces


@dataclass(frozen=True)
class Drawn:
    """A policy mapping that was drawn when the episode began."""

    modules: dict[str, str]

    def __call__(self, agent: str, episode: Any, **_: Any) -> str:
        """The module that plays an agent."""
        return self.modules[agent]
