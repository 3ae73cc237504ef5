"""Record games.

python -m world_model record --game table --episodes 200 --seed 0 --out runs/table
python -m world_model record --game atari --episodes 60 --seed 0 --out runs/atari --processes 2
"""

import dataclasses
import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from bitexact.cli import command_line, progress
from bitexact.cli.exits import BadInput
from world_model import atari, invariants, recording
from world_model.play_out import play_out
from world_model.recording import Episode
from world_model.states import Layout
from world_model.table import Table, TableSettings, layout_of

_TOGETHER = 32  # games of the table side by side; their bytes do not depend on it


@dataclass(frozen=True)
class RecordSettings:
    """Record whole games, split into training, validation and held out."""

    out: Path
    """folder for the recording: a new one, or that of an interrupted recording with the same options"""
    game: Literal["table", "atari"] = "table"
    """which game"""
    episodes: int = 100
    """how many games"""
    seed: int = 0
    """of serves, players and sticky actions"""
    processes: int = 1
    """how many record at the same time; the bytes do not depend on it"""
    table: TableSettings = field(default_factory=TableSettings)

    def check(self) -> None:
        """Raise BadInput for what cannot be recorded."""
        if not 10 <= self.episodes <= 100_000:
            raise BadInput("--episodes is a number from 10 to 100,000: of every ten, seven are for training.")
        if not 0 <= self.seed < 2**63:
            raise BadInput("--seed is a whole number from 0 to 2^63 - 1.")
        if not 1 <= self.processes <= 256:
            raise BadInput("--processes is a number from 1 to 256.")
        self.table.check()

    def layout(self) -> Layout:
        """Of the states recorded."""
        return layout_of(self.table) if self.game == "table" else atari.LAYOUT

    def lasting(self) -> dict[str, object]:
        """What decides the bytes."""
        lasting: dict[str, object] = {
            "version": recording.VERSION,
            "game": self.game,
            "episodes": self.episodes,
            "seed": self.seed,
        }
        return {**lasting, "table": dataclasses.asdict(self.table)} if self.game == "table" else lasting


def main(arguments: Sequence[str]) -> None:
    """The command."""
    settings = command_line.parse(RecordSettings, arguments, "python -m world_model record")
    settings.check()
    digest = record(settings)
    print(f"recorded {settings.episodes} episodes in {settings.out}, digest {digest}")


def record(settings: RecordSettings) -> str:
    """Record what is missing, and write the manifest: the recording's digest. Raises BadInput, DiskRefused."""
    recording.begin(settings.out, settings.lasting())
    missing = [n for n in range(settings.episodes) if not recording.path_of(settings.out, n).exists()]
    together = _TOGETHER if settings.game == "table" else 1
    parts = [missing[first : first + together] for first in range(0, len(missing), together)]
    work = partial(_record_part, settings)
    if settings.processes == 1 or len(parts) < 2:
        for part in progress.bar(parts, "recording", len(parts)):
            work(part)
    else:
        with multiprocessing.get_context("spawn").Pool(min(settings.processes, len(parts))) as pool:
            for _ in progress.bar(pool.imap(work, parts), "recording", len(parts)):
                pass
    return recording.write_manifest(settings.out, range(settings.episodes), settings.layout())


def _record_part(settings: RecordSettings, numbers: list[int]) -> None:
    if settings.game == "table":
        episodes = play_table(settings.table, settings.seed, numbers)
    else:
        episodes = [atari.play_episode(settings.seed, number) for number in numbers]
    for number, episode in zip(numbers, episodes, strict=True):
        invariants.an_episode_keeps_the_rules(episode, settings.layout(), {"episode": number})
        recording.write_episode(settings.out, number, episode)


def play_table(settings: TableSettings, seed: int, numbers: Sequence[int]) -> list[Episode]:
    """Play some episodes of the table side by side."""
    table = Table(settings)
    return play_out(table, table.reset(seed, np.array(numbers)), seed, numbers)
