"""DQN's replay buffer as plain state and back, for checkpoints: RLlib's own state holds functions, spaces and buffers.

Episodes are whole and numpy by then; each agent's becomes its arrays, and comes back as RLlib's objects.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from ray.rllib.env.multi_agent_episode import MultiAgentEpisode
from ray.rllib.env.utils.infinite_lookback_buffer import InfiniteLookbackBuffer

from rllib_worker.env_runner import Drawn

_BUFFER = "lookback_buffer"
_LEFT_OUT = {"agent_to_module_mapping_fn", "observation_space", "action_space", "_observation_space", "_action_space"}
_LEFT_OUT |= {"space", "_start_time", "_last_step_time"}
_Spaces = Mapping[str, Any]


def dump(buffer: Any) -> dict[str, Any]:
    """A buffer's state, in containers, numbers and arrays alone."""
    state: dict[str, Any] = _plain(buffer.get_state())
    return state


def load(buffer: Any, state: dict[str, Any], observation_spaces: _Spaces, action_spaces: _Spaces) -> None:
    """Put a state into a buffer that is new, for a game of these spaces by agent."""
    restored = _live(state)
    buffer.episodes = deque(_episode(one, observation_spaces, action_spaces) for one in restored["episodes"])
    buffer.set_state(restored)


def _episode(state: dict[str, Any], observation_spaces: _Spaces, action_spaces: _Spaces) -> MultiAgentEpisode:
    episode = MultiAgentEpisode.from_state({**dict.fromkeys(_LEFT_OUT), **state})
    episode.agent_to_module_mapping_fn = Drawn(episode._agent_to_module_mapping)
    episode.observation_space, episode.action_space = dict(observation_spaces), dict(action_spaces)
    for agent, one in episode.agent_episodes.items():
        one.observation_space, one.action_space = observation_spaces[agent], action_spaces[agent]
    return episode


def _plain(value: Any) -> Any:
    if isinstance(value, InfiniteLookbackBuffer):
        return {_BUFFER: [_plain(value.data), value.lookback, value.finalized]}
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items() if key not in _LEFT_OUT}
    if isinstance(value, list | tuple | deque):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray) and value.dtype == object:  # infos
        return [_plain(one) for one in value]
    return value


def _live(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_BUFFER}:
            data, lookback, finalized = value[_BUFFER]
            return InfiniteLookbackBuffer.from_state(
                {"data": _live(data), "lookback": lookback, "finalized": finalized, "space": None}
            )
        agent = {"_observation_space": None, "_action_space": None, "_start_time": None, "_last_step_time": None}
        return ({"space": None, **agent} if "id_" in value or "lookback" in value else {}) | {
            key: _live(one) for key, one in value.items()
        }
    return [_live(one) for one in value] if isinstance(value, list) else value
