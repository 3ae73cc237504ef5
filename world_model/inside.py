"""A dream as the trainer's game: what `driver.py --train-inside pretrained/atari-rnn` plays.

The trainer imports nothing of this system; it asks this module, by its name, for the game that a folder holds. What is
imported here is NumPy, the emulator's names and the kit: all that the trainer has.
"""

import dataclasses
import json
from functools import partial
from pathlib import Path

import numpy as np

from bitexact.determinism.digests import digest
from pong.games import ChosenGame
from world_model.arcade import DreamtPong
from world_model.model import Model, load

# All of this system that is imported for it. The kit's and the game's own files are in every run's list.
MODULES = tuple(
    f"world_model.{name}"
    for name in (
        *("arcade", "dream", "drawing", "features", "files"),
        *("inside", "model", "network", "recording", "states"),
    )
)


def open_game(folder: Path) -> ChosenGame:
    """The dream of a model of `atari`, at temperature 0. Raises BadInput."""
    model = load(folder, game="atari")
    return ChosenGame(partial(DreamtPong, model), digest_of(model), MODULES)


def digest_of(model: Model) -> str:
    """Of all that a dream follows from."""
    about = {
        "layout": dataclasses.asdict(model.layout),
        "shape": dataclasses.asdict(model.shape),
        "structure": model.structure,
    }
    text = json.dumps(about, sort_keys=True).encode()
    return digest({**model.arrays(), "about": np.frombuffer(text, np.uint8)})
