"""A person's games, kept as a recording: what a model can be trained on, and compared with, as with any other.

python -m world_model play --keep runs/mine

An episode is the exact game up to its end, with the keys as the right side's actions. Its number names its serves, so
that the game played again by its actions comes to the same states; a game that was left is missing. Its split follows
from its number, as everywhere: ten games fill all three.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from world_model import invariants, recording
from world_model.recording import Episode
from world_model.states import Layout


class Kept:
    """A folder to which finished games are added. Raises BadInput where it holds something else."""

    def __init__(self, folder: Path, layout: Layout, seed: int) -> None:
        self._folder, self._layout = folder, layout
        lasting: dict[str, Any] = {"version": recording.VERSION, "game": layout.game, "seed": seed, "player": "person"}
        recording.begin(folder, {**lasting, "layout": {**dataclasses.asdict(layout), "variables": [*layout.variables]}})
        self._next = max(recording.numbers_in(folder), default=-1) + 1

    def take_number(self) -> int:
        """That of the game that begins now: no other game, of whichever page, has it."""
        number, self._next = self._next, self._next + 1
        return number

    def add(self, number: int, episode: Episode) -> None:
        """Add a game that came to its end, and write the manifest anew. Raises BadInput, DiskRefused."""
        invariants.an_episode_keeps_the_rules(episode, self._layout, {"episode": number})
        recording.write_episode(self._folder, number, episode)
        recording.write_manifest(self._folder, recording.numbers_in(self._folder), self._layout)


class Track:
    """What happens in a game while it is played."""

    def __init__(self, states: np.ndarray) -> None:
        self._states, self._events, self._actions = [states[0].copy()], list[np.ndarray](), list[np.ndarray]()

    def note(self, actions: np.ndarray, states: np.ndarray, events: np.ndarray) -> None:
        """A step of one game: its actions int8 [1, 2], the states [1, V] and events [1, 6] after it."""
        self._actions.append(actions[0])
        self._states.append(states[0].copy())
        self._events.append(events[0])

    def episode(self) -> Episode:
        """All of it."""
        return Episode(np.stack(self._states), np.stack(self._events), np.stack(self._actions))
