"""The commands `evaluate` and `cross-play`: trained policies play, without a cluster."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line
from bitexact.cli.exits import BadInput
from bitexact.storage import durable
from rllib_worker.cross_play import cross_play, write
from rllib_worker.kept import config_of
from rllib_worker.policy_evaluator import EvaluationConfig, Player, film_game, run_evaluation

VIDEOS, VIDEO = "videos", "evaluation.mp4"
_PROGRAM = "python -m rllib_worker"


@dataclass(frozen=True)
class Evaluate:
    """Play games with a run's policies; alone, or seat by seat against opponents."""

    player: Annotated[str, tyro.conf.Positional]
    """RUN, RUN:POLICY, RUN@ITERATION or RUN:POLICY@ITERATION."""
    opponent: str | None = None
    """The same, or `random`; without one the run plays every agent."""
    games: int = 100
    """So many."""
    seed: int = 0
    """Games are a function of it."""
    processes: int = 1
    """Never changes the result."""
    greedy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The likeliest action, instead of one drawn."""
    json: Path | None = None
    """Write every game and the summary to this file."""
    video: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Film the first game, as videos/evaluation.mp4 in the run's folder."""


@dataclass(frozen=True)
class CrossPlay:
    """Everybody against everybody: a matrix and Elo ratings."""

    players: Annotated[tuple[str, ...], tyro.conf.Positional]
    """RUN, RUN:POLICY, RUN@ITERATION, RUN:POLICY@ITERATION, or `random`."""
    games: int = 100
    """Of each pair, seats in turn."""
    seed: int = 0
    """Games are a function of it."""
    processes: int = 1
    """Never changes the result."""
    greedy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The likeliest action, instead of one drawn."""
    json: Path = Path("cross-play.json")
    """The table."""
    picture: Path = Path("cross-play.png")
    """The same as a picture."""


def evaluate(arguments: Sequence[str]) -> None:
    """Play, and print a summary."""
    asked = command_line.parse(Evaluate, arguments, f"{_PROGRAM} evaluate")
    _expect_positive(games=asked.games, processes=asked.processes)
    command_line.expect_a_folder(json=asked.json)
    player = Player.parse(asked.player)
    if player.run is None:
        raise BadInput("evaluate plays a run: name its folder.")
    players = (player, *([Player.parse(asked.opponent)] if asked.opponent else []))
    config = EvaluationConfig(
        config_of(player.run).environment, players, asked.games, asked.seed, asked.greedy, asked.processes
    )
    results = run_evaluation(config)
    if asked.video:
        film_game(config, 0, player.run / VIDEOS / VIDEO)
    if asked.json:
        durable.write_atomically(asked.json, json.dumps(results.dump()).encode() + b"\n")
    print(json.dumps(results.summary(), indent=2))


def play_all(arguments: Sequence[str]) -> None:
    """Cross-play, and print the ratings."""
    asked = command_line.parse(CrossPlay, arguments, f"{_PROGRAM} cross-play")
    _expect_positive(games=asked.games, processes=asked.processes)
    command_line.expect_a_folder(json=asked.json, picture=asked.picture)
    players = [Player.parse(text) for text in asked.players]
    table = cross_play(players, asked.games, asked.seed, asked.processes, asked.greedy)
    write(table, asked.json, asked.picture)
    print(table.text())


def _expect_positive(**numbers: int) -> None:
    for name, number in numbers.items():
        if number < 1:
            raise BadInput(f"--{name} {number}: it must be 1 at least.")
