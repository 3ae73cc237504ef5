"""Checkpoints: checkpoints/update-00000120.npz, each whole or not there, each with its digest inside.

A damaged one is reported by name and the one before it is used. The last N stay, and every hundredth update's, so that
a replay of any update starts near. They hold arrays only, no pickled objects.

A run that was given weights to begin with has a checkpoint of update 0. Weights alone, without what only training
needs, have the same form of file: `pretrained/pong.npz`.
"""

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bitexact.determinism.arrays import Arrays
from bitexact.storage import durable
from bitexact.storage.state import State

ALWAYS_KEPT_EVERY = 100
_UPDATE, _DIGEST = "update", "digest"


class BadCheckpoint(Exception):
    """A checkpoint that must not be used. The text names the file and says why."""


class Checkpoints:
    """The checkpoints of one run directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, update: int) -> Path:
        """Where the checkpoint of an update is, or would be."""
        return self._folder / f"update-{update:08d}.npz"

    def updates(self) -> list[int]:
        """The updates that there is a checkpoint of, ascending."""
        names = (re.fullmatch(r"update-(\d{8,})\.npz", path.name) for path in self._folder.glob("update-*.npz"))
        return sorted(int(name[1]) for name in names if name)

    def save(self, state: State) -> Path:
        """Write a checkpoint. Raises DiskRefused."""
        if not self._folder.is_dir():
            with durable.refusing(self._folder):
                durable.make_folder(self._folder)
        path = self.path(state.update)
        write(path, state)
        return path

    def load(self, update: int, like: State) -> State:
        """Read a checkpoint back. Raises BadCheckpoint unless it is sound and its arrays are shaped as `like`'s."""
        state = load(self.path(update), like)
        if state.update != update:
            raise BadCheckpoint(f"{self.path(update)} is another update's ({state.update})")
        return state

    def first(self, otherwise: State) -> State:
        """The state that the run began with, if it was given; `otherwise` if not. Raises BadCheckpoint."""
        return self.load(0, otherwise) if self.path(0).exists() else otherwise

    def newest_good(
        self,
        like: State,
        not_after: float,
        complain: Callable[[str], None],
        recorded: Callable[[int], str | None] = lambda update: None,
    ) -> State | None:
        """The newest sound checkpoint up to an update; each bad one on the way is complained of.

        `recorded` gives the ledger's digest of an update, where it has one: a checkpoint with another one is bad too.
        """
        for update in reversed([update for update in self.updates() if update <= not_after]):
            try:
                state = self.load(update, like)
                if recorded(update) not in (None, state.digest()):
                    raise BadCheckpoint(f"{self.path(update)} has another digest than the ledger's update {update}")
                return state
            except BadCheckpoint as bad:
                complain(f"{bad}; the one before it is used")
        return None

    def prune(self, keep: int, newest: int) -> None:
        """Delete all up to `newest` but the last `keep` of them and every hundredth update's. Raises DiskRefused.

        Those after it are not counted: a run that resumed behind damaged ones has yet to write them anew.
        """
        for update in [update for update in self.updates() if update <= newest][:-keep]:
            if update % ALWAYS_KEPT_EVERY:
                durable.delete(self.path(update))

    def delete_leftovers(self) -> None:
        """Delete what killed drivers have left half written. Raises DiskRefused."""
        durable.delete_leftovers(self._folder, "update-*.npz")

    def clear(self) -> None:
        """Delete all. Raises DiskRefused."""
        self.delete_leftovers()
        for update in self.updates():
            durable.delete(self.path(update))


def write(path: Path, state: State) -> None:
    """Write a checkpoint file. Raises DiskRefused."""
    buffer = io.BytesIO()
    about = {_UPDATE: np.array(state.update), _DIGEST: np.array(state.digest())}
    np.savez(buffer, allow_pickle=False, **about, **state.arrays())
    durable.write_atomically(path, buffer.getvalue())


def load(path: Path, like: State | None = None) -> State:
    """Read a checkpoint file. Raises BadCheckpoint if it is not sound, or not shaped as `like`."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        update, digest = int(arrays.pop(_UPDATE)), str(arrays.pop(_DIGEST))
        state = State.of(update, arrays)
        found = state.digest()
    except FileNotFoundError:
        raise BadCheckpoint(f"there is no {path}") from None
    except OSError as error:
        raise BadCheckpoint(f"{path} cannot be read ({error.strerror})") from None
    except Exception as error:  # a damaged zip file fails in zipfile, zlib, struct, ast or NumPy, each in its own way
        raise BadCheckpoint(f"{path} is damaged ({type(error).__name__})") from None
    if found != digest:
        raise BadCheckpoint(f"{path} is damaged (its digest is not that of its arrays)")
    if like is not None:
        _expect(path, state.arrays(), like.arrays())
    return state


def load_weights(path: Path, like: Arrays) -> State:
    """Read what a checkpoint file, or one of weights alone, says of the policy: a state without an optimizer.

    Raises BadCheckpoint if it is not sound, or not shaped as `like`.
    """
    state = load(path)
    _expect(path, state.weights, like)
    return State(state.update, state.weights, {})


def _expect(path: Path, arrays: Arrays, like: Arrays) -> None:
    if _kinds(arrays) != _kinds(like):
        raise BadCheckpoint(f"{path} is of another shape ({_kinds(arrays)} instead of {_kinds(like)})")


def _kinds(arrays: Arrays) -> dict[str, tuple[tuple[int, ...], str]]:
    return {name: (array.shape, array.dtype.str) for name, array in arrays.items()}
