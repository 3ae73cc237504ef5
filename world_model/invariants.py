"""Every property of the learned game: one function each, named for what must hold, called where it must hold.

As the trainer's `invariants.py`: the only file here that asserts through the Antithesis SDK, messages as literals,
`@guard` where nothing may be built on a broken property.
"""

from typing import TYPE_CHECKING

import numpy as np

from bitexact.cli import process_environment

process_environment.direct_properties()  # before the SDK is imported: it chooses its output then

from antithesis.assertions import always, sometimes

from bitexact.reporting.guards import Where, guard, reached_by

# What shows a failure again: from the last checkpoint before it.
REPRODUCED_BY = ("python -m world_model train --config {run}/train.json --resume",)

if TYPE_CHECKING:
    from world_model.recording import Episode
    from world_model.states import Layout


def an_episode_keeps_the_rules(episode: "Episode", layout: "Layout", where: Where) -> None:
    """What must hold of every recorded episode."""
    paddles_stay_in_the_field(episode.states[:, 4:6], 256.0 if layout.whole else layout.height, where)
    a_score_is_the_sum_of_its_points(episode.states[:, -2:], episode.events[:, 3:5], where)
    a_point_ends_each_rally(episode.events[:, 3] | episode.events[:, 4], episode.events[:, 5], where)


@guard
@reached_by("every run: each episode, where it is recorded and where it is trained on")
def paddles_stay_in_the_field(paddles: np.ndarray, height: float, where: Where) -> bool:
    """Their places, [T, 2]."""
    holds = bool(((paddles >= 0.0) & (paddles <= height)).all())
    always(holds, "Paddles stay in the field", where)
    return holds


@guard
@reached_by("every run: each episode, where it is recorded and where it is trained on")
def a_score_is_the_sum_of_its_points(scores: np.ndarray, points: np.ndarray, where: Where) -> bool:
    """Scores [T + 1, 2] of both sides, and the points [T, 2] of the steps between: none lost, none taken back."""
    holds = bool((np.diff(scores, axis=0) == points).all())
    always(holds, "In a game of two paddles, a score is the sum of its points and never decreases", where)
    return holds


@guard
@reached_by("every run: each episode, where it is recorded and where it is trained on")
def a_point_ends_each_rally(points: np.ndarray, serves: np.ndarray, where: Where) -> bool:
    """Between two serves there is one point, and after a point no other before a serve. Bool [T] each."""
    order = np.where(points, 1, np.where(serves, -1, 0))
    order = order[order != 0]
    alternate = bool((np.diff(order) != 0).all())
    always(alternate, "A point ends each rally, and a serve begins the next", where)
    return alternate


@guard
@reached_by("every run: the beginning of a training, by one of the games that it is trained on")
def the_exact_game_is_a_function_of_seed_and_actions(recorded: np.ndarray, again: np.ndarray, where: Where) -> bool:
    """States [T + 1, V] as they were recorded, and as the same actions lead to them in another process."""
    holds = bool(np.array_equal(recorded, again))
    always(holds, "An exact game played again by its seed and actions comes to the same states", where)
    return holds


@reached_by("an evaluation: a game of the policy dreamt to its end")
def a_dream_scores(points: int, where: Where) -> None:
    """A dream in which nobody ever wins a point would be no game."""
    sometimes(points > 0, "A point is won in a dream", where)


@guard
@reached_by("every run: each batch of a training")
def no_window_crosses_a_serve(starts: np.ndarray, ends: np.ndarray, limits: np.ndarray, where: Where) -> bool:
    """First and one past the last step of each window, [B], and where its rally begins and ends, [2, B]."""
    holds = bool(((starts >= limits[0]) & (ends <= limits[1])).all())
    always(holds, "No window of a training crosses a serve", where)
    return holds


@guard
@reached_by("every run: the beginning of a training")
def no_held_out_episode_is_trained_on(trained: list[int], others: list[int], where: Where) -> bool:
    """Numbers of the episodes of the training split, and of the others."""
    holds = not set(trained) & set(others)
    always(holds, "No episode of another split is in a training", where)
    return holds


@guard
@reached_by("every run: each epoch of a training")
def loss_and_weights_are_finite(loss: float, weights: dict[str, np.ndarray], where: Where) -> bool:
    """A training that diverged is not saved over a good model."""
    holds = bool(np.isfinite(loss)) and all(bool(np.isfinite(array).all()) for array in weights.values())
    always(holds, "A training's loss and weights are finite", where)
    return holds


@guard
@reached_by("every run: each epoch of a training")
def a_model_reads_back_as_written(read: str, written: str, where: Where) -> bool:
    """Digests of the arrays, as they were to be written and as they are on the disk."""
    always(read == written, "A model reads back as written", where)
    return read == written
