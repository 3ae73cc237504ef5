"""Recorded games: whole episodes, their splits decided by their number before anything is learned.

    recording/config.json                     the game, its settings, the seed
    recording/episode-000012.safetensors      states [T + 1, V], events [T, 6], actions [T, 2]
    recording/manifest.json                   of each episode: split, steps, points, digest; written last

An episode is a function of (game, settings, seed, its number), so the bytes are the same for any number of processes,
and a recording that was interrupted goes on with the episodes that are missing.
"""

import dataclasses
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitexact.cli.exits import BadInput
from bitexact.determinism.digests import digest
from bitexact.storage import durable
from world_model import files
from world_model.states import EVENTS, LEFT_SCORE, RIGHT_SCORE, SERVE, Layout

VERSION = 1
CONFIG, MANIFEST = "config.json", "manifest.json"
SPLITS = ("training", "validation", "heldout")
_TENTHS = {7: "validation", 8: "heldout", 9: "heldout"}  # by the last digit of an episode's number


@dataclass(frozen=True)
class Episode:
    """One game of T steps."""

    states: np.ndarray  # float64 [T + 1, V]
    events: np.ndarray  # bool [T, 6]: of the step from states[t] to states[t + 1]
    actions: np.ndarray  # int8 [T, 2]: left, right

    def arrays(self) -> dict[str, np.ndarray]:
        """What a file holds."""
        return {"states": self.states, "events": self.events.astype(np.uint8), "actions": self.actions}

    def rallies(self) -> list[tuple[int, int]]:
        """The steps from each serve to the step before the next: (first, end), none of which is a serve."""
        serves = self.events[:, SERVE].nonzero()[0].tolist()
        starts, ends = [0, *(step + 1 for step in serves)], [*serves, len(self.actions)]
        return [(start, end) for start, end in zip(starts, ends, strict=True) if end > start]


@dataclass(frozen=True)
class Recording:
    """The episodes of one split, with the layout of their states."""

    layout: Layout
    episodes: list[Episode]
    numbers: list[int]
    digest: str  # of the whole recording
    seed: int | None = None  # of its games; unknown where the recording's config is gone


def begin(folder: Path, lasting: dict[str, Any]) -> None:
    """Make the folder, or see that it holds the beginning of this recording: `lasting` is what decides its bytes.

    Raises BadInput, DiskRefused.
    """
    path = folder / CONFIG
    if path.exists():
        if files.read_json(path) != lasting:
            raise BadInput(f"{folder} holds another recording: use its options to go on, or choose another folder.")
        durable.delete_leftovers(folder, "episode-*.safetensors")
        return
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        raise BadInput(f"{folder} is there and holds no recording: choose another folder.")
    try:
        durable.make_folder(folder)
    except OSError as error:
        raise BadInput(f"{folder} cannot be made ({error.strerror}): choose another folder.") from None
    if not os.access(folder, os.W_OK):
        raise BadInput(f"{folder} cannot be written: choose another folder.")
    files.write_json(path, lasting)


def numbers_in(folder: Path) -> list[int]:
    """Of the episodes whose files are there, ascending."""
    names = (path.stem.removeprefix("episode-") for path in folder.glob("episode-*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def split_of(number: int) -> str:
    """Training, validation or held out: of every ten episodes seven, one and two."""
    return _TENTHS.get(number % 10, "training")


def path_of(folder: Path, number: int) -> Path:
    """Where an episode is, or would be."""
    return folder / f"episode-{number:06d}.safetensors"


def write_episode(folder: Path, number: int, episode: Episode) -> None:
    """Write one episode. Raises DiskRefused."""
    files.write(path_of(folder, number), episode.arrays(), {"episode": number, "version": VERSION})


def read_episode(folder: Path, number: int, columns: int) -> tuple[Episode, str]:
    """One episode and its digest. Raises BadInput, naming the file."""
    path = path_of(folder, number)
    arrays, about = files.read(path)
    if about.get("version") != VERSION or about.get("episode") != number:
        raise BadInput(f"{path} is of another version or episode than its name says: record it anew.")
    steps = len(arrays.get("actions", ()))
    shapes = {"states": (steps + 1, columns), "events": (steps, len(EVENTS)), "actions": (steps, 2)}
    if {name: array.shape for name, array in arrays.items()} != shapes:
        raise BadInput(f"{path} does not hold an episode of this game: record it anew.")
    episode = Episode(arrays["states"], arrays["events"].astype(np.bool_), arrays["actions"])
    return episode, about["digest"]


def write_manifest(folder: Path, numbers: Iterable[int], layout: Layout) -> str:
    """Read the episodes back and say what is there: the recording's digest. Raises BadInput, DiskRefused."""
    entries = []
    for number in numbers:
        episode, found = read_episode(folder, number, len(layout.columns))
        last = episode.states[-1]
        entries.append(
            {
                "episode": number,
                "split": split_of(number),
                "steps": len(episode.actions),
                "points_left": int(last[LEFT_SCORE]),
                "points_right": int(last[RIGHT_SCORE]),
                "digest": found,
            }
        )
    whole = digest({str(entry["episode"]): np.frombuffer(str(entry["digest"]).encode(), np.uint8) for entry in entries})
    manifest = {"version": VERSION, "layout": dataclasses.asdict(layout), "episodes": entries, "digest": whole}
    files.write_json(folder / MANIFEST, manifest)
    return whole


def read(folder: Path, split: str, limit: int | None = None) -> Recording:
    """The episodes of a split, the first `limit` of them, each checked. Raises BadInput, naming the file."""
    manifest = _manifest(folder)
    layout = layout_from(manifest["layout"], folder / MANIFEST)
    episodes, numbers = [], []
    for entry in [entry for entry in manifest["episodes"] if entry["split"] == split][:limit]:
        episode, found = read_episode(folder, entry["episode"], len(layout.columns))
        if found != entry["digest"]:
            raise BadInput(f"{path_of(folder, entry['episode'])} is not the file that {folder / MANIFEST} was made of.")
        episodes.append(episode)
        numbers.append(entry["episode"])
    if not episodes:
        raise BadInput(f"{folder} has no episode in its {split} split: record at least 10.")
    return Recording(layout, episodes, numbers, manifest["digest"], _seed(folder))


def _seed(folder: Path) -> int | None:
    seed = files.read_json(folder / CONFIG).get("seed") if (folder / CONFIG).exists() else None
    return seed if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 else None


def layout_from(fields: Any, path: Path) -> Layout:
    """A layout as it was written. Raises BadInput, naming the file."""
    try:
        layout = Layout(**{**fields, "variables": tuple(fields["variables"])})
    except (TypeError, KeyError):
        raise BadInput(f"{path} is of another version: make it anew.") from None
    if not 6 <= len(layout.variables) <= 32:
        raise BadInput(f"{path} is of another version: make it anew.")
    return layout


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    if not path.exists() and (folder / CONFIG).exists():
        raise BadInput(f"the recording in {folder} is not finished: go on with `record` and the same options.")
    manifest = files.read_json(path)
    if manifest.get("version") != VERSION:
        raise BadInput(f"{path} is of version {manifest.get('version')!r}, not {VERSION}: record it anew.")
    entries = manifest.get("episodes")
    needed = {"episode": int, "split": str, "steps": int, "digest": str}
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(name), kind) for name, kind in needed.items())
        for entry in entries
    ):
        raise BadInput(f"{path} is damaged (its list of episodes): record it anew.")
    return manifest
