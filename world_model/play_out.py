"""Whole games, recorded and dreamt: how long their rallies are, and who wins the points."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from world_model.arcade import DreamtPong
from world_model.atari import play_with_whims
from world_model.dream import Dream
from world_model.model import Model
from world_model.players import both_sides
from world_model.recording import Episode, Recording
from world_model.states import POINT_LEFT, POINT_RIGHT, SERVE, Game, Layout, is_over

_MOST_STEPS = 20_000  # a game that is not over then ends there


def outcomes_of_recording(recording: Recording) -> dict[str, Any]:
    """Of the recorded games."""
    return _outcomes(recording.episodes)


def outcomes_of_dream(model: Model, recording: Recording, seed: int) -> dict[str, Any]:
    """Of as many games in the dream, with the manner of player that was recorded."""
    if model.layout.game == "table":
        dream = Dream(model, len(recording.numbers))
        return _outcomes(play_out(dream, dream.reset(seed), seed, recording.numbers))
    return _outcomes([dreamt_episode(model, seed, number) for number in recording.numbers])


def play_out(game: Game, states: np.ndarray, seed: int, numbers: Sequence[int]) -> list[Episode]:
    """Games of the table's players, side by side, from their first states, each up to its end as if alone."""
    layout = game.layout
    left, right = both_sides(layout.paddle_height, seed, np.array(numbers))
    all_states, all_events, all_actions = [states], list[np.ndarray](), list[np.ndarray]()
    while not is_over(states, layout).all() and len(all_actions) < _MOST_STEPS:
        actions = np.stack([left.act(states), right.act(states)], axis=1)
        states, events = game.step(actions[:, 0], actions[:, 1])
        all_states.append(states)
        all_events.append(events)
        all_actions.append(actions)
    tracks = np.stack(all_states, axis=1), np.stack(all_events, axis=1), np.stack(all_actions, axis=1)
    return [_cut(*track, layout) for track in zip(*tracks, strict=True)]


def dreamt_episode(model: Model, seed: int, number: int) -> Episode:
    """A game as `atari.play_episode` plays it in the real one."""
    game = DreamtPong(model)
    game.reset(seed=seed, options={"update": 0, "index": number})
    first, game.dreamt.noted = game.dreamt.state.copy(), []
    play_with_whims(game, seed, number)
    states, events, actions = (np.stack(one) for one in zip(*game.dreamt.noted, strict=True))
    return Episode(np.concatenate([first[None], states]), events, actions)


def _cut(states: np.ndarray, events: np.ndarray, actions: np.ndarray, layout: Layout) -> Episode:
    """The episode up to its end, where others played beside it went on."""
    over = is_over(states, layout).nonzero()[0]
    steps = int(over[0]) if len(over) else len(actions)
    return Episode(states[: steps + 1].copy(), events[:steps].copy(), actions[:steps].copy())


def _outcomes(episodes: list[Episode]) -> dict[str, Any]:
    lengths, left, right = [], 0, 0
    for episode in episodes:
        points = episode.events[:, [POINT_LEFT, POINT_RIGHT]]
        ends = (points[:, 0] | points[:, 1]).nonzero()[0]
        serves = np.concatenate([[0], episode.events[:, SERVE].nonzero()[0]])
        lengths += [int(end - serves[serves <= end].max()) for end in ends]
        left, right = left + int(points[:, 0].sum()), right + int(points[:, 1].sum())
    quartiles = np.quantile(lengths, (0.25, 0.5, 0.75)).tolist() if lengths else [0.0, 0.0, 0.0]
    return {"games": len(episodes), "rally_steps": quartiles, "left_share": left / max(1, left + right)}
