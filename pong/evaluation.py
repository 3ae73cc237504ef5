"""Games played to judge a policy, not to train it: from streams of their own, so that they never meet a training game.

result = evaluate_game(WatchedPong(), weights, seed=0, index=0, greedy=False)
"""

import functools
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

import invariants
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.streams import Purpose, Stream
from pong.game import Pong
from pong.rollout import Trajectory, play

UPDATE = 0  # training's updates count from 1, so no training game has an evaluation game's sticky actions


@dataclass(frozen=True)
class GameResult:
    """How one game of an evaluation ended."""

    index: int
    points_for: int
    points_against: int
    steps: int

    @property
    def reward(self) -> int:
        """Points for less points against."""
        return self.points_for - self.points_against


class WatchedPong(Pong):
    """Pong that keeps the score after each step, as the game itself counts it."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a game with an empty list of scores."""
        self.scores: list[tuple[int, int]] = []
        return super().reset(seed=seed, options=options)

    def advance(self, action: int) -> tuple[int, bool, bool]:
        """One step, and the score after it."""
        outcome = super().advance(action)
        self.scores.append(self.score())
        return outcome


@functools.cache
def watched_pong() -> WatchedPong:
    """This process's own, made when it is first asked for."""
    return WatchedPong()


def play_game(game: Pong, weights: Arrays, seed: int, index: int, greedy: bool) -> Trajectory:
    """Play game `index` of an evaluation: always the more probable action if greedy, else drawn."""
    chance = Stream(seed, Purpose.EVALUATION, UPDATE, index)
    thresholds = itertools.repeat(0.5) if greedy else iter(chance)
    return play(game, weights, seed, UPDATE, index, thresholds)


def evaluate_game(game: WatchedPong, weights: Arrays, seed: int, index: int, greedy: bool) -> GameResult:
    """Play one game, and hold what it earned to the game's own score. Raises PropertyFailed."""
    trajectory = play_game(game, weights, seed, index, greedy)
    won, lost = int((trajectory.rewards > 0).sum()), int((trajectory.rewards < 0).sum())
    points = np.array(game.scores)  # [T, 2], for and against
    where = {"seed": seed, "index": index}
    invariants.a_score_never_decreases(points[:, 0], points[:, 1], where)
    invariants.a_score_is_the_sum_of_its_rewards(won, int(points[-1, 0]), where)
    invariants.a_score_is_the_sum_of_its_rewards(lost, int(points[-1, 1]), where)
    invariants.a_step_wins_or_loses_one_point_at_most(trajectory.rewards, where)
    if not trajectory.truncated:
        invariants.a_game_played_out_has_a_side_at_21(won, lost, where)
    return GameResult(index, won, lost, len(trajectory.rewards))
