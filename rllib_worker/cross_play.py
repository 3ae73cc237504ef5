"""Everybody against everybody: snapshots, runs and a random player, both sides, as a matrix and Elo ratings.

table = cross_play([Player.parse("RUN@10"), Player.parse("RUN"), RANDOM], games=100, seed=0, processes=2)
write(table, Path("cross-play.json"), Path("cross-play.png"))
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitexact.cli.exits import BadInput
from bitexact.storage import durable
from rllib_worker.elo import Rating, ratings
from rllib_worker.kept import config_of
from rllib_worker.policy_evaluator import EvaluationConfig, Player, run_evaluation


@dataclass(frozen=True)
class CrossPlay:
    """The matrix: points that the row's player made against the column's, a game; NaN against itself."""

    players: list[str]
    games: int  # of each pair
    matrix: np.ndarray  # [players, players]
    ratings: list[Rating]

    def dump(self) -> dict[str, Any]:
        """As JSON values."""
        rows = [[None if np.isnan(one) else one for one in row] for row in self.matrix.tolist()]
        elo = {name: asdict(rating) for name, rating in zip(self.players, self.ratings, strict=True)}
        return {"players": self.players, "games_a_pair": self.games, "points": rows, "elo": elo}

    def text(self) -> str:
        """The same as lines, the strongest first."""
        order = sorted(range(len(self.players)), key=lambda index: -self.ratings[index].elo)
        lines = [f"{'elo':>6}  {'95 % interval':>15}  player"]
        for index in order:
            one = self.ratings[index]
            lines.append(f"{one.elo:6.0f}  {one.low:6.0f} to {one.high:5.0f}  {self.players[index]}")
        return "\n".join(lines)


def cross_play(players: Sequence[Player], games: int, seed: int, processes: int, greedy: bool = False) -> CrossPlay:
    """Play `games` games of each pair, seats in turn. Raises BadInput for players that cannot meet."""
    runs = [player.run for player in players if player.run is not None]
    if not runs or len(players) < 2:
        raise BadInput("cross-play needs two players at least, one of them a run.")
    environment = config_of(runs[0]).environment
    matrix, results = np.full((len(players), len(players)), np.nan), []
    for number, (a, b) in enumerate(itertools.combinations(range(len(players)), 2)):
        config = EvaluationConfig(environment, (players[a], players[b]), games, seed + number, greedy, processes)
        points = [one.result_of(players[a].name) for one in run_evaluation(config).episodes]
        if any(one is None for one in points):
            raise BadInput(f"{environment.env_id} has one player: nobody can meet there.")
        results += [(a, b, float(one or 0.0)) for one in points]
        matrix[a, b] = np.mean([float(one or 0.0) for one in points])
        matrix[b, a] = 1.0 - matrix[a, b]
    names = [player.name for player in players]
    return CrossPlay(names, games, matrix, ratings(results, len(players), seed))


def write(table: CrossPlay, path: Path, picture: Path) -> None:
    """The table as JSON and as a picture. Raises DiskRefused."""
    durable.write_atomically(path, json.dumps(table.dump(), indent=2).encode() + b"\n")
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(2.5 + 0.9 * len(table.players), 2.0 + 0.7 * len(table.players)), layout="constrained")
    axes = figure.subplots()
    axes.imshow(table.matrix, vmin=0.0, vmax=1.0, cmap="RdBu")
    short = [f"{Path(name).name or name}" for name in table.players]
    axes.set_xticks(range(len(short)), short, rotation=45, ha="right")
    elo = [f"{name}  ({rating.elo:.0f})" for name, rating in zip(short, table.ratings, strict=True)]
    axes.set_yticks(range(len(short)), elo)
    for row, column in itertools.permutations(range(len(short)), 2):
        axes.text(column, row, f"{table.matrix[row, column]:.2f}", ha="center", va="center", fontsize=9)
    axes.set_title("points of the row's player (Elo) against the column's, a game")
    figure.savefig(picture, dpi=110)
