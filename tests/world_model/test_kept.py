"""A person's games, kept: a recording as any other. The person here holds a key down, and loses."""

import asyncio
import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect

from bitexact.cli.exits import BadInput, DiskRefused
from world_model import recording
from world_model.dream import Dream
from world_model.exact import played_again
from world_model.kept import Kept
from world_model.model import Model, load
from world_model.server import HOST, Server
from world_model.session import Session, shown
from world_model.train_settings import TrainSettings
from world_model.training_run import run

ATARI = Path(__file__).parents[2] / "pretrained" / "atari-rnn"
DOWN = 1


def of_one_point(folder: Path) -> Model:
    """A model of a table whose games have one point."""
    model = load(folder)
    settings = {**model.layout.settings, "first_to": 1}
    return dataclasses.replace(model, layout=dataclasses.replace(model.layout, first_to=1, settings=settings))


def play(session: Session, kept: Path, games: int) -> None:
    """Hold a key down until so many games more are there."""
    wanted = len(recording.numbers_in(kept)) + games
    for _ in range(3000 * games):
        if len(recording.numbers_in(kept)) == wanted:
            return
        session.tick(DOWN)
    raise AssertionError(f"no game ended: {recording.numbers_in(kept)}")


def test_kept_games_are_played_again_and_trained_on(
    small_model: Path, small_training: "partial[TrainSettings]", tmp_path: Path
) -> None:
    model, folder = of_one_point(small_model), tmp_path / "mine"
    session = Session(model, seed=5, player="you", kept=Kept(folder, model.layout, seed=5))
    play(session, folder, games=6)
    again = Session(model, seed=5, player="you", kept=Kept(folder, model.layout, seed=5))  # another day
    play(again, folder, games=4)
    assert recording.numbers_in(folder) == list(range(10))
    training = recording.read(folder, "training")
    assert training.seed == 5
    for number, episode in zip(training.numbers, training.episodes, strict=True):
        assert (played_again(training.layout, 5, number, episode.actions) == episode.states).all()
        assert (episode.actions[:, 1] == DOWN).all()
        assert episode.states[-1, -2:].sum() == 1
    run(small_training(recording=folder, out=tmp_path / "trained", updates=1), tell=lambda _: None)


def test_two_pages_keep_games_of_different_numbers_and_a_game_that_was_left_is_missing(
    small_model: Path, tmp_path: Path
) -> None:
    model, folder = of_one_point(small_model), tmp_path / "mine"
    kept = Kept(folder, model.layout, seed=0)
    Session(model, player="you", kept=kept)  # left at once
    play(Session(model, player="you", kept=kept), folder, games=1)
    assert recording.numbers_in(folder) == [1]


def test_a_folder_of_other_games_is_refused(small_model: Path, tmp_path: Path) -> None:
    model = load(small_model)
    Kept(tmp_path / "mine", model.layout, seed=0)
    with pytest.raises(BadInput, match="another recording"):
        Kept(tmp_path / "mine", model.layout, seed=1)


def test_a_disk_that_refuses_a_game_ends_the_server(small_model: Path) -> None:
    class Full(Session):
        def tick(self, key: int) -> dict[str, Any]:
            raise DiskRefused("the disk is full")

    async def open_a_page() -> None:
        port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        server = Server(lambda: Full(load(small_model)), ("you",), ("exact",))
        serving = asyncio.create_task(server.run(0, port.set_result))
        async with connect(f"ws://{HOST}:{await port}/play"):
            await asyncio.wait_for(serving, timeout=10)

    with pytest.raises(DiskRefused):
        asyncio.run(open_a_page())


def test_the_dream_of_the_emulator_is_given_no_action_of_the_left_side() -> None:
    model = load(ATARI)
    session, dream = Session(model, seed=2, player="you"), Dream(model)
    dream.reset(2)
    dream.place(played_again(model.layout, 2, 0, np.zeros((0, 2), np.int8)))
    for _ in range(600):
        states, _ = dream.step(np.zeros(1, np.int8), np.array([DOWN], np.int8))
        assert session.tick(DOWN)["dream"] == shown(model.layout, states[0])
