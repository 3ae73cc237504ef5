"""Play in the exact game and in the dreamt one, side by side.

python -m world_model play                                     a page in the browser
python -m world_model play --terminal                          in this terminal
python -m world_model play --model-path runs/table-rnn --generator-type fuzzy
python -m world_model play --keep runs/mine                    your games become a recording
"""

import asyncio
import contextlib
import signal
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from bitexact.cli import command_line
from bitexact.cli.exits import BadInput, Interrupted
from world_model.kept import Kept
from world_model.model import load
from world_model.model_path import resolve
from world_model.network import KINDS, ModelName
from world_model.server import HOST, Server
from world_model.session import PlayerName, Session, players_of

_SHOWS = {"both": ("exact", "dream"), "exact": ("exact",), "fuzzy": ("dream",)}


@dataclass(frozen=True)
class PlaySettings:
    """Serve one page on loopback: the exact game and the learned one, the same keys to both."""

    model_path: str = "pretrained/table-rnn"
    """a model's folder, or runs:/ID/name of MLflow; it decides which game is played"""
    generator_type: Literal["both", "exact", "fuzzy"] = "both"
    """which of the games is shown: fuzzy is the dreamt one"""
    player: PlayerName = "tracker"
    """who has the right paddle at first; a key makes it yours"""
    temperature: float = 0.0
    """how surprising the dream is at first: at 0 what is most probable happens"""
    seed: int = 0
    """of serves and players"""
    model_type: ModelName | None = None
    """expect a model of this type; by default whatever type it says"""
    mlflow_server_url: str | None = None
    """where runs:/ID/name is fetched from; by default MLFLOW_TRACKING_URI, or the local database"""
    keep: Path | None = None
    """add each exact game that comes to its end to the recording in this folder"""
    port: int = 8642
    """of the page; 0 takes a free one"""
    terminal: bool = False
    """play in this terminal instead"""
    open_browser: bool = False
    """open the page in the browser"""

    def check(self) -> None:
        """Raise BadInput for what cannot be played."""
        if not 0 <= self.port <= 65535:
            raise BadInput("--port is a number from 0 to 65535.")
        if not 0.0 <= self.temperature <= 10.0:
            raise BadInput("--temperature lies between 0 and 10.")
        if not 0 <= self.seed < 2**63:
            raise BadInput("--seed is a whole number from 0 to 2^63 - 1.")


def main(arguments: Sequence[str]) -> None:
    """The command."""
    settings = command_line.parse(PlaySettings, arguments, "python -m world_model play")
    settings.check()
    model = load(resolve(settings.model_path, settings.mlflow_server_url))
    if settings.model_type and KINDS[settings.model_type] != model.shape.model_type:
        raise BadInput(f"{settings.model_path} is of type {model.shape.model_type}, not {settings.model_type}.")
    players = players_of(model.layout)
    if settings.player not in players:
        raise BadInput(f"--player of {model.layout.game} is one of {', '.join(players)}.")
    kept = Kept(settings.keep, model.layout, settings.seed) if settings.keep else None
    new_session = partial(Session, model, settings.seed, settings.player, settings.temperature, kept)
    if settings.terminal:
        from world_model.terminal import play_in_terminal

        play_in_terminal(new_session(), _SHOWS[settings.generator_type])
        return
    server = Server(new_session, players, _SHOWS[settings.generator_type])
    asyncio.run(_serve(server, settings))


async def _serve(server: Server, settings: PlaySettings) -> None:
    """Serve until a signal comes. Raises BadInput, Interrupted."""
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, _stop, stopped, number)
    serving = asyncio.create_task(server.run(settings.port, partial(_ready, settings.open_browser)))
    waited_for: list[asyncio.Future[Any]] = [serving, stopped]
    await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
    if not stopped.done():
        await serving
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    raise Interrupted(stopped.result())


def _stop(stopped: "asyncio.Future[int]", number: int) -> None:
    if not stopped.done():
        stopped.set_result(number)


def _ready(open_browser: bool, port: int) -> None:
    address = f"http://{HOST}:{port}/"
    print(f"play at {address}   Ctrl-C ends it", flush=True)
    if open_browser:
        with contextlib.suppress(webbrowser.Error):
            webbrowser.open(address)
