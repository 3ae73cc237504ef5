"""Games played to judge a policy, not to train it: from streams of their own, so that they never meet a training game.

_, result = EvaluationTask(greedy=False).run(Pong(), weights, evaluation_id(seed=0, index=0))
"""

import itertools
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

import invariants
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.streams import Purpose, Stream
from pong.game import Pong
from pong.play import Game, Observation, RolloutId, Trajectory, play

UPDATE = 0  # training's updates count from 1, so no training game has an evaluation game's sticky actions


def evaluation_id(seed: int, index: int) -> RolloutId:
    """The name of game `index` of an evaluation."""
    return RolloutId(seed, UPDATE, index)


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

    @property
    def digest(self) -> str:
        """A fingerprint of all of it."""
        return fingerprint({"result": np.array(astuple(self), np.int64)})

    def mismatch(self, result: None) -> str:
        """Nothing: there is no result beside this."""
        return ""


@dataclass(frozen=True)
class EvaluationTask:
    """Play a game to judge the policy: always the more probable action if greedy, else drawn."""

    greedy: bool

    def play(self, game: Game, weights: Arrays, game_id: RolloutId) -> Trajectory:
        """The game itself."""
        chance = Stream(game_id.seed, Purpose.EVALUATION, game_id.update, game_id.index)
        return play(game, weights, game_id, itertools.repeat(0.5) if self.greedy else iter(chance))

    def run(self, game: Pong, weights: Arrays, game_id: RolloutId) -> tuple[None, GameResult]:
        """Play one game, and hold what it earned to the game's own score. Raises PropertyFailed.

        Nothing is learned from it, so there is no result but the record.
        """
        watched = _WatchedGame(game)
        trajectory = self.play(watched, weights, game_id)
        won, lost = int((trajectory.rewards > 0).sum()), int((trajectory.rewards < 0).sum())
        points = np.array(watched.scores)  # [T, 2], for and against
        where = {"seed": game_id.seed, "index": game_id.index}
        invariants.a_score_never_decreases(points[:, 0], points[:, 1], where)
        invariants.a_score_is_the_sum_of_its_rewards(won, int(points[-1, 0]), where)
        invariants.a_score_is_the_sum_of_its_rewards(lost, int(points[-1, 1]), where)
        invariants.a_step_wins_or_loses_one_point_at_most(trajectory.rewards, where)
        if not trajectory.truncated:
            invariants.a_game_played_out_has_a_side_at_21(won, lost, where)
        return None, GameResult(game_id.index, won, lost, len(trajectory.rewards))


class _WatchedGame:
    """A game of Pong that keeps the score after each step, as the game itself counts it."""

    def __init__(self, game: Pong) -> None:
        self._game = game
        self.scores: list[tuple[int, int]] = []

    @property
    def changed(self) -> Observation:
        return self._game.changed

    def reset(self, *, seed: int, options: dict[str, Any]) -> Any:
        return self._game.reset(seed=seed, options=options)

    def observe(self) -> Observation:
        return self._game.observe()

    def advance(self, action: int) -> tuple[int, bool, bool]:
        outcome = self._game.advance(action)
        self.scores.append(self._game.score())
        return outcome
