"""The game that a run trains in: Pong, or a model's dream of it.

    chosen = choose("pretrained/atari-rnn")
    game = chosen.make()

Actors, replay and what runs without Ray make their game so. A dream is another system's: nothing here imports that
one. It is found by the name DREAMS when a run asks for it, and needs no package that the trainer does not have. What
`make` holds travels: the model reaches other nodes with each actor, its files need not.
"""

import functools
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bitexact.cli.exits import BadInput
from pong.game import STICKY_PROBABILITY, Pong

DREAMS = "world_model.inside"  # has open_game(folder) -> ChosenGame, which raises BadInput


@dataclass(frozen=True)
class ChosenGame:
    """A game, and what of it decides a run's result beside the trainer's own code."""

    make: Callable[[], Pong]
    """can be sent to other processes"""
    digest: str = ""
    """of what it is made of; empty for the emulator's own"""
    modules: tuple[str, ...] = ()
    """the names of its source files"""


@functools.cache
def choose(dream: str | None, sticky_actions: float = STICKY_PROBABILITY) -> ChosenGame:
    """The game of the emulator, or the dream of a model's folder, as it is when first asked for. Raises BadInput.

    `sticky_actions` is how probably a frame of the emulator's repeats the action before it.
    """
    if dream is None:
        return ChosenGame(functools.partial(Pong, sticky_actions))
    try:
        dreams = importlib.import_module(DREAMS)
    except ModuleNotFoundError as missing:
        raise BadInput(
            f"--train-inside needs the learned game's code ({missing.name} is missing): run it where that is."
        ) from None
    chosen: ChosenGame = dreams.open_game(Path(dream))
    return chosen
