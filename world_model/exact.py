"""The exact game that a layout names, and one of its games played again by the actions that were recorded."""

import numpy as np

from world_model.atari import Atari
from world_model.states import Game, Layout
from world_model.table import Table, TableSettings


def exact_game(layout: Layout) -> Game:
    """The exact game that a model has learned."""
    return Atari() if layout.game == "atari" else table_of(layout)


def table_of(layout: Layout) -> Table:
    """The table with a layout's settings."""
    return Table(TableSettings(**layout.settings))  # type: ignore[arg-type]


def played_again(layout: Layout, seed: int, number: int, actions: np.ndarray) -> np.ndarray:
    """The states, float64 [T + 1, V], to which actions [T, 2] lead in the game (seed, number), in a game made anew."""
    if layout.game == "atari":
        game: Game = Atari()
        states = [game.reset(seed)[0]]
    else:
        table = table_of(layout)
        game, states = table, [table.reset(seed, np.array([number]))[0]]
    states += [game.step(one[:1], one[1:])[0][0] for one in actions]
    return np.stack(states)
