"""Whole games of a policy, in the dream of a model or in the real game: what `agent` plays."""

import multiprocessing
from functools import partial
from pathlib import Path

from bitexact.cli import progress
from bitexact.cli.exits import BadInput
from bitexact.determinism.streams import Purpose, Stream
from bitexact.storage import checkpoints
from policy import Forward
from pong.game import Pong
from world_model import invariants
from world_model.agent_settings import AgentSettings
from world_model.arcade import DreamtPong
from world_model.model import load


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
