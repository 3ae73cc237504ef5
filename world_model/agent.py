"""Let the policy that comes with the project play whole games in a dream and in the real game.

python -m world_model agent --model-path pretrained/atari-rnn --games 30
"""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from bitexact.cli import command_line, progress
from bitexact.cli.exits import BadInput
from bitexact.determinism.streams import Purpose, Stream
from bitexact.storage import checkpoints
from policy import Forward
from pong.game import Pong
from world_model import atari, invariants
from world_model.arcade import DreamtPong
from world_model.model import load
from world_model.model_path import resolve


@dataclass(frozen=True)
class AgentSettings:
    """Play whole games to 21 points in a dream and in the real game, and print both mean rewards and the gap."""

    model_path: str = "pretrained/atari-rnn"
    """a model of atari: a folder, or runs:/ID/name of MLflow"""
    policy: Path = atari.POLICY
    """a checkpoint of the trainer, or weights alone"""
    games: int = 30
    """in each of both"""
    seed: int = 0
    """of the policy's and the games' streams"""
    processes: int = 1
    """how many play at the same time"""

    def check(self) -> None:
        """Raise BadInput for what cannot be played."""
        if not 1 <= self.games <= 10_000 or not 1 <= self.processes <= 256:
            raise BadInput("--games is a number from 1 to 10,000, --processes one from 1 to 256.")


def main(arguments: Sequence[str]) -> None:
    """The command."""
    settings = command_line.parse(AgentSettings, arguments, "python -m world_model agent")
    settings.check()
    folder = resolve(settings.model_path)
    load(folder, game="atari")  # complains here, not in each process
    means = {}
    for name, model in (("dream", folder), ("real game", None)):
        rewards = play_games(model, settings)
        means[name] = float(np.mean(rewards))
        print(
            f"{name:10} mean reward {means[name]:+.2f} over {len(rewards)} games, from {min(rewards)} to {max(rewards)}"
        )
    print(f"gap        {means['dream'] - means['real game']:+.2f}")


def play_games(model: Path | None, settings: AgentSettings) -> list[int]:
    """The reward of each game, in the dream of a model or, without one, in the real game."""
    work = partial(_play, model, settings.policy, settings.seed)
    games = range(settings.games)
    if settings.processes == 1:
        return [work(game) for game in progress.bar(games, "playing", settings.games)]
    with multiprocessing.get_context("spawn").Pool(settings.processes) as pool:
        return list(progress.bar(pool.imap(work, games), "playing", settings.games))


def _play(model: Path | None, policy: Path, seed: int, index: int) -> int:
    game = DreamtPong(load(model)) if model else Pong()
    try:
        weights = checkpoints.load_any(policy).weights
    except checkpoints.BadCheckpoint as bad:
        raise BadInput(f"--policy: {bad}.") from None
    reward = play_game(game, Forward(weights), seed, index)
    if model:
        invariants.a_dream_scores(sum(game.score()), {"seed": seed, "index": index})
    return reward


def play_game(game: Pong, forward: Forward, seed: int, index: int) -> int:
    """One game, with the streams of the trainer's evaluations, which are no training's: its reward."""
    game.reset(seed=seed, options={"update": 0, "index": index})
    chance = iter(Stream(seed, Purpose.EVALUATION, 0, index))
    over, total = False, 0
    while not over:
        reward, terminated, truncated = game.advance(next(chance) < forward(*game.observe())[0])
        total, over = total + reward, terminated or truncated
    return total
