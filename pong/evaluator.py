"""The games of an evaluation, played by actors in parallel; and the first of them to look at.

Importing this module imports Ray and the Antithesis SDK, which read their environment then: `process_environment`
prepares it before.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import invariants
from bitexact.cli.interrupts import Interrupts
from bitexact.cli.progress import bar
from bitexact.cluster.interface import Cluster, PoolSettings
from bitexact.cluster.pool import Pool
from bitexact.cluster.ray_session import connect
from bitexact.determinism.arrays import Arrays
from pong import film, terminal
from pong.evaluation import EvaluationTask, GameResult, evaluation_id
from pong.game import STICKY_PROBABILITY, Pong


@dataclass(frozen=True)
class Games:
    """Which games are played, and how."""

    count: int
    seed: int
    greedy: bool  # always the more probable action; else each with its probability
    sticky_actions: float = STICKY_PROBABILITY

    def make(self) -> Pong:
        """The game that is played."""
        return Pong(self.sticky_actions)


def play(
    games: Games, weights: Arrays, start: Callable[[], Cluster], actors: int | None, interrupts: Interrupts
) -> list[GameResult]:
    """The games' results in order, played by so many actors of the cluster that `start` gives, or by one per CPU.

    Raises PropertyFailed, ClusterLost, Interrupted.
    """
    with connect(None, actors):
        pool = Pool(start(), PoolSettings(actors, games.count), _Listener(interrupts))
        ids = [evaluation_id(games.seed, index) for index in range(games.count)]
        arriving = bar(pool.run(EvaluationTask(games.greedy), weights, ids), "playing", total=games.count)
        results = sorted((record for _, (_, record) in arriving), key=lambda result: result.index)
        for key, first, second in pool.take_duplicates():
            invariants.a_rollout_done_twice_gives_the_same_bytes(first, second, key.details)
        return results


def show_first(games: Games, weights: Arrays, video: Path | None, watch: bool) -> None:
    """The first game, as a video and in the terminal, where that is wanted."""
    first = evaluation_id(games.seed, index=0)
    game = games.make()
    trajectory = EvaluationTask(games.greedy).play(game, weights, first)
    if video:
        film.write_video(video, trajectory, first, game)
    if watch:
        terminal.watch(trajectory, first, game)


class _Listener:
    """What the pool tells, and asks."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.check_interrupt = interrupts.check

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        """Beside the result, which goes to standard output."""
        print(text, file=sys.stderr)
