"""Games: made by `EnvironmentFactory`, played through `Game`, which has one form for games of turns and of all at once.

    game = EnvironmentFactory(config.environment, shared_value=False).make()
    observations = game.reset(seed=7)          # {agent: vector}, of those that are to act
    step = game.step({agent: action, ...})

An illegal action never reaches a game: it raises PropertyFailed. Nothing here knows RLlib.
"""

import functools
import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from bitexact.cli.exits import BadInput
from rllib_worker import catalog
from rllib_worker.config import EnvironmentConfig, PettingZooAPIType
from rllib_worker.observations import Encoder, Layout

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # pictures are drawn without a screen
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

_ATARI_FRAMES = 4  # of an action, as in ALE/Pong-v5
_ATARI_NOOPS = 30  # the most that nobody moves at the start: the emulator takes no seed, so games differ by this alone

Vectors = dict[str, np.ndarray]


@dataclass
class Step:
    """What came of a step."""

    observations: Vectors  # of those that are to act next, and the last one of those that are done
    rewards: dict[str, float]
    terminated: dict[str, bool]
    truncated: dict[str, bool]
    over: bool


@dataclass(frozen=True)
class EnvironmentFactory:
    """Makes a game again and again."""

    config: EnvironmentConfig
    shared_value: bool = False  # agents are shown everybody's observations too, for the critic
    _entry: catalog.Entry = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_entry", catalog.find(self.config.family, self.config.env_id))

    @property
    def kind(self) -> str:
        """Competitive, cooperative or mixed."""
        return self._entry.kind

    def make(self, render: bool = False) -> "Game":
        """A game. Raises BadInput if it cannot be made from this config."""
        make = functools.partial(self._pettingzoo, render or self._entry.drawn)
        return Game(make(), self.config, self.shared_value, make if self._entry.made_anew else None)

    def _pettingzoo(self, render: bool) -> Any:
        entry, kwargs = self._entry, dict(self.config.env_kwargs)
        parallel = self.config.api_type is PettingZooAPIType.PARALLEL
        if parallel and entry.turns_only:
            raise BadInput(f"environment.api_type: {entry.env_id} is played in turns; use aec.")
        if not parallel and entry.at_once_only:
            raise BadInput(f"environment.api_type: {entry.env_id} is played all at once; use parallel.")
        if entry.family == "atari":
            kwargs |= {"auto_rom_install_path": str(_roms())}
        if render:
            kwargs |= {"render_mode": "rgb_array"}
        module = importlib.import_module(entry.module)
        try:
            return (module.parallel_env if parallel else module.env)(**kwargs)
        except (TypeError, AssertionError, ValueError) as error:
            raise BadInput(f"environment.env_kwargs: {entry.env_id} refuses them ({error}): mend them.") from None


class Game:
    """One game, played again and again."""

    def __init__(
        self, env: Any, config: EnvironmentConfig, shared_value: bool, anew: Callable[[], Any] | None = None
    ) -> None:
        self._env, self._shared, self._anew = env, shared_value, anew
        self._turns = config.api_type is PettingZooAPIType.AEC
        self._atari = config.family == "atari"
        self.agents: list[str] = list(env.possible_agents)
        self._encoders = {agent: Encoder(env.observation_space(agent), config.env_id) for agent in self.agents}
        self.action_spaces: dict[str, spaces.Space[Any]] = {agent: env.action_space(agent) for agent in self.agents}
        everybody = sum(encoder.size for encoder in self._encoders.values()) if shared_value else 0
        self.layouts = {agent: self._layout(agent, everybody) for agent in self.agents}
        self._own: Vectors = {}
        self._masks: Vectors = {}

    def _layout(self, agent: str, everybody: int) -> Layout:
        encoder = self._encoders[agent]
        return Layout(encoder.mask, len(self.agents) if self._shared else 0, encoder.size, everybody, encoder.picture)

    def reset(self, seed: int) -> Vectors:
        """Begin a game, which the seed decides: the vectors of those that are to act."""
        for encoder in self._encoders.values():
            encoder.reset()
        self._own, self._masks = {agent: np.zeros(one.size, np.float32) for agent, one in self._encoders.items()}, {}
        if self._anew:
            self._env.close()
            self._env = self._anew()
        first = self._env.reset(seed=seed % 2**31)
        if self._atari:
            first = self._wait(seed % (_ATARI_NOOPS + 1)) or first
        if self._turns:
            return self._seen([self._env.agent_selection])
        return self._take_in(first[0])

    def step(self, actions: dict[str, Any]) -> Step:
        """Carry out the actions of those that were to act. Raises PropertyFailed for an illegal one."""
        for agent, action in actions.items():
            mask = self._masks.get(agent)
            if mask is not None and mask.size:
                from rllib_worker import invariants  # late: the SDK chooses its output when it is first imported

                where = {"agent": agent, "action": int(action)}
                invariants.an_action_is_legal(bool(mask[int(action)] > 0), where=where)
        return self._turn(actions) if self._turns else self._all_at_once(actions)

    def render(self) -> np.ndarray:
        """The game's picture now: height x width x 3, uint8."""
        return np.asarray(self._env.render(), np.uint8)

    def close(self) -> None:
        """Let go of what the game holds."""
        self._env.close()

    def mask(self, agent: str) -> np.ndarray:
        """Which actions of an agent are legal now; empty where all always are."""
        return self._masks.get(agent, np.zeros(0, np.float32))

    def _wait(self, steps: int) -> Any:
        """Let nobody move for a while: what is seen after it, if there was any."""
        seen = None
        for _ in range(steps):
            seen = self._env.step(dict.fromkeys(self.agents, 0))
        return seen

    def _turn(self, actions: dict[str, Any]) -> Step:
        env = self._env
        (agent,) = actions
        before = {one for one in env.agents if env.terminations[one] or env.truncations[one]}
        env.step(_for_the_game(actions[agent]))
        rewards = {one: float(env.rewards.get(one, 0.0)) for one in self.agents}
        terminated = {one: True for one in env.agents if env.terminations[one] and one not in before}
        truncated = {one: True for one in env.agents if env.truncations[one] and one not in before}
        ended = [one for one in env.agents if one in terminated or one in truncated]
        last = self._seen(ended)
        while env.agents and (env.terminations[env.agent_selection] or env.truncations[env.agent_selection]):
            env.step(None)  # those that are done leave
        over = not env.agents
        observations = last if over else last | self._seen([env.agent_selection])
        return Step(observations, rewards, terminated, truncated, over)

    def _all_at_once(self, actions: dict[str, Any]) -> Step:
        total = dict.fromkeys(self.agents, 0.0)
        moves = {agent: _for_the_game(action) for agent, action in actions.items()}
        for _ in range(_ATARI_FRAMES if self._atari else 1):
            seen, rewards, terminated, truncated, _ = self._env.step(moves)
            for agent, reward in rewards.items():
                total[agent] += float(reward)
            if not self._env.agents:
                break
        ended = {one: bool(value) for one, value in terminated.items() if value}
        cut = {one: bool(value) for one, value in truncated.items() if value}
        return Step(self._take_in(seen), total, ended, cut, not self._env.agents)

    def _seen(self, agents: list[str]) -> Vectors:
        """What some agents of a game of turns see; everybody, where the critic is to know."""
        looking = self.agents if self._shared else agents
        for agent in looking:
            self._note(agent, self._env.observe(agent))
        return {agent: self._vector(agent) for agent in agents}

    def _take_in(self, observations: dict[str, Any]) -> Vectors:
        for agent, observation in observations.items():
            self._note(agent, observation)
        return {agent: self._vector(agent) for agent in observations}

    def _note(self, agent: str, observation: Any) -> None:
        encoder = self._encoders[agent]
        self._own[agent], self._masks[agent] = encoder(observation), encoder.mask_of(observation)

    def _vector(self, agent: str) -> np.ndarray:
        mask, own = self._masks[agent], self._own[agent]
        if not self._shared:
            return np.concatenate([mask, own])
        number = np.eye(1, len(self.agents), self.agents.index(agent), dtype=np.float32)[0]
        return np.concatenate([mask, number, own, *(self._own[one] for one in self.agents)])


def _for_the_game(action: Any) -> Any:
    return np.asarray(action) if np.ndim(action) else int(action)


def _roms() -> Path:
    """The folder of ale-py's ROMs."""
    return Path(importlib.import_module("ale_py").__file__ or "").parent / "roms"
