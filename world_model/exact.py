"""The exact game that a layout names, and one of its games played again by the actions that were recorded."""

import numpy as np

from world_model.atari import Atari
from world_model.states import Game, Layout
from world_model.table import Table, TableSettings


def begun(layout: Layout, seed: int, number: int) -> tuple[Game, np.ndarray]:
    """The exact game (seed, number) that a model has learned, and its first states, float64 [1, V]."""
    if layout.game == "atari":
        emulator = Atari()
        return emulator, emulator.reset(seed)
    table = table_of(layout)
    return table, table.reset(seed, np.array([number]))


def table_of(layout: Layout) -> Table:
    """The table with a layout's settings."""
    return Table(TableSettings(**layout.settings))  # type: ignore[arg-type]


def played_again(layout: Layout, seed: int, number: int, actions: np.ndarray) -> np.ndarray:
    """The states, float64 [T + 1, V], to which actions [T, 2] lead in the game (seed, number), in a game made anew."""
    game, first = begun(layout, seed, number)
    return np.stack([first[0], *(game.step(one[:1], one[1:])[0][0] for one in actions)])
