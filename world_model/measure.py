"""How far a dream is from the exact game, from the same state and with the same actions.

A comparison starts at a step of a rally, with the memory of a few recorded steps before it, and goes on open loop to
the next serve. The predictors that a model is measured beside know no network: nothing changes; constant speed;
constant speed with walls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitexact.determinism.streams import Stream
from world_model.dream import Dream
from world_model.model import Model
from world_model.recording import Episode, Recording
from world_model.states import BALL_X, BALL_Y, PREDICTED_EVENTS, WAIT, Layout, Purpose

WARM_UP = 8  # recorded steps that a memory is given before
Predictor = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""States with those before [N, W + 1, V], actions [N, W + S, 2] -> states [N, S, V] and events [N, S, 6]."""


@dataclass(frozen=True)
class Starts:
    """Where comparisons start, and what happened then. S steps each; beyond a rally's end, `inside` is false."""

    warm: np.ndarray  # float64 [N, W + 1, V]: the states before, and that of the start
    actions: np.ndarray  # int8 [N, W + S, 2]
    states: np.ndarray  # float64 [N, S, V]: after each step
    events: np.ndarray  # bool [N, S, 6]
    inside: np.ndarray  # bool [N, S]


def starts_of(recording: Recording, count: int, steps: int, seed: int) -> Starts:
    """Draw starts from all steps of a split with the ball in play and WARM_UP steps of its rally before."""
    places = []
    for number, episode in enumerate(recording.episodes):
        for first, end in episode.rallies():
            plays = np.flatnonzero(episode.states[first:end, WAIT] == 0) + first
            usable = plays[plays >= first + WARM_UP]
            places += [(number, int(step), end) for step in usable]
    draws = Stream(seed, Purpose.COMPARE).uniforms(count)
    chosen = [places[int(draw * len(places))] for draw in draws]
    return _cut(recording, chosen, steps)


def _cut(recording: Recording, places: Sequence[tuple[int, int, int]], steps: int) -> Starts:
    warm, actions, states, events, inside = [], [], [], [], []
    for number, step, end in places:
        episode, last = recording.episodes[number], len(recording.episodes[number].actions)
        index = np.minimum(np.arange(step, step + steps), last - 1)
        warm.append(episode.states[step - WARM_UP : step + 1])
        actions.append(episode.actions[np.concatenate([np.arange(step - WARM_UP, step), index])])
        states.append(episode.states[index + 1])
        events.append(episode.events[index])
        inside.append(np.arange(step, step + steps) < end)
    return Starts(np.stack(warm), np.stack(actions), np.stack(states), np.stack(events), np.stack(inside))


def of_model(model: Model) -> Predictor:
    """The dream at temperature 0."""

    def predict(warm: np.ndarray, actions: np.ndarray, _: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dream = Dream(model, len(warm))
        dream.place(warm[:, 0])
        for step in range(warm.shape[1] - 1):
            dream.step(actions[:, step, 0], actions[:, step, 1])
            dream.correct(warm[:, step + 1])
        states, events = [], []
        for step in range(warm.shape[1] - 1, actions.shape[1]):
            after, happened = dream.step(actions[:, step, 0], actions[:, step, 1])
            states.append(after)
            events.append(happened)
        return np.stack(states, axis=1), np.stack(events, axis=1)

    return predict


def ball_error(found: np.ndarray, true: np.ndarray, height: float) -> np.ndarray:
    """Distance of the balls, in heights of the field, [N, S] of states [N, S, V]."""
    away_x, away_y = (found[..., place] - true[..., place] for place in (BALL_X, BALL_Y))
    error: np.ndarray = np.sqrt(away_x * away_x + away_y * away_y) / height
    return error


def rollout_errors(
    model: Model, recording: Recording, starts: int, horizons: tuple[int, ...], seed: int
) -> dict[str, float]:
    """The median error of the ball after some steps open loop, and the median step at which it is off."""
    chosen = starts_of(recording, starts, max(horizons), seed)
    found, _ = of_model(model)(chosen.warm, chosen.actions, chosen.states)
    error = ball_error(found, chosen.states, model.layout.height)
    medians = {}
    for horizon in horizons:
        there = chosen.inside[:, horizon - 1]
        medians[f"error_{horizon}"] = float(np.median(error[there, horizon - 1])) if there.any() else float("nan")
    return medians


HORIZONS = (1, 8, 15, 24, 60, 120)
_TOGETHER = 128  # comparisons side by side: their number decides how much memory is taken
_NEAR = 2  # steps: an event so near in time is the same one


def compared(predict: Predictor, starts: Starts, layout: Layout) -> dict[str, Any]:
    """All figures of one predictor."""
    parts = [slice(first, first + _TOGETHER) for first in range(0, len(starts.warm), _TOGETHER)]
    answers = [predict(starts.warm[part], starts.actions[part], starts.states[part]) for part in parts]
    states = np.concatenate([found for found, _ in answers])
    events = np.concatenate([happened for _, happened in answers])
    error = ball_error(states, starts.states, layout.height)
    return {
        "ball_error": {
            str(horizon): _quartiles(error[starts.inside[:, horizon - 1], horizon - 1]) for horizon in HORIZONS
        },
        "steps_until_off": _steps_until_off(error > layout.paddle_height / layout.height, starts.inside),
        "events": event_scores(events, starts.events, starts.inside),
    }


def _quartiles(errors: np.ndarray) -> list[float]:
    """Lower quartile, median, upper quartile, of a share of the field's height; empty where no rally is so long."""
    return np.quantile(errors, (0.25, 0.5, 0.75)).tolist() if len(errors) else []


def _steps_until_off(off: np.ndarray, inside: np.ndarray) -> int | None:
    """The median step at which the ball is off by a paddle's height; nothing where half of them never are.

    A rally that ends before says only "not until then": Kaplan and Meier's estimate (1958) takes such ends in.
    """
    lasting = 1.0
    last = inside.sum(axis=1)
    first_off = np.where((off & inside).any(axis=1), (off & inside).argmax(axis=1), off.shape[1])
    for step in range(off.shape[1]):
        at_risk = int(((last > step) & (first_off >= step)).sum())
        if not at_risk:
            return None
        lasting *= 1.0 - int((first_off == step).sum()) / at_risk
        if lasting <= 0.5:
            return step + 1
    return None


def event_scores(found: np.ndarray, true: np.ndarray, inside: np.ndarray) -> dict[str, dict[str, float]]:
    """Precision and recall of each event, one of the other side within 2 steps: bool [N, S, 6] each."""
    scores = {}
    for number, name in enumerate(PREDICTED_EVENTS):
        mine, theirs = found[..., number] & inside, true[..., number] & inside
        precision = _share_near(mine, theirs)
        recall = _share_near(theirs, mine)
        both = precision + recall
        scores[name] = {"precision": precision, "recall": recall, "f1": 2 * precision * recall / both if both else 0.0}
    return scores


def _share_near(events: np.ndarray, others: np.ndarray) -> float:
    near = others.copy()
    for shift in range(1, _NEAR + 1):
        near[:, shift:] |= others[:, :-shift]
        near[:, :-shift] |= others[:, shift:]
    return float((events & near).sum() / events.sum()) if events.any() else 0.0


def one_step_events(model: Model, recording: Recording) -> dict[str, dict[str, float]]:
    """The same with the true state before each step: how well a single step is foreseen, over whole episodes."""
    found, true = [], []
    for episode in recording.episodes:
        for first, end in episode.rallies():
            found.append((episode, first, end))
    dreams = _one_step(model, found)
    true = [episode.events[first:end] for episode, first, end in found]
    inside = np.ones((1, sum(map(len, true))), np.bool_)
    return event_scores(dreams[None], np.concatenate(true)[None], inside)


def _one_step(model: Model, rallies: Sequence[tuple[Episode, int, int]]) -> np.ndarray:
    """The events foreseen at each step of some rallies, one after another, bool [T, 6]."""
    steps = max(end - first for _, first, end in rallies)
    index = [np.minimum(np.arange(first, first + steps + 1), end) for _, first, end in rallies]
    states = np.stack([episode.states[at] for (episode, _, _), at in zip(rallies, index, strict=True)])
    actions = np.stack(
        [episode.actions[np.minimum(at[:-1], end - 1)] for (episode, _, end), at in zip(rallies, index, strict=True)]
    )
    dream = Dream(model, len(rallies))
    dream.place(states[:, 0])
    events = []
    for step in range(steps):
        events.append(dream.step(actions[:, step, 0], actions[:, step, 1])[1])
        dream.correct(states[:, step + 1])
    by_rally = np.stack(events, axis=1)
    return np.concatenate([by_rally[number, : end - first] for number, (_, first, end) in enumerate(rallies)])
