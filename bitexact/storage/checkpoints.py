"""Checkpoints: checkpoints/update-00000120.npz, each whole or not there, each with its digest inside.

A damaged one is reported by name and the one before it is used. The last N stay, and every hundredth update's, so that
a replay of any update starts near. They hold arrays only, no pickled objects.

A run that was given weights to begin with has a checkpoint of update 0. Weights alone, without what only training
needs, have the same form of file: `pretrained/pong.npz`.
"""

import contextlib
import errno
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bitexact.determinism import digests
from bitexact.determinism.arrays import Arrays, kinds
from bitexact.storage import archive, durable
from bitexact.storage.state import State

ALWAYS_KEPT_EVERY = 100
_UPDATE, _DIGEST = "update", "digest"
_ABOUT: archive.Kinds = {_UPDATE: ((), "<i8"), _DIGEST: ((), "<U64")}


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

    def clear(self, but_the_first: bool = False) -> None:
        """Delete all, or all but that of update 0. Raises DiskRefused."""
        self.delete_leftovers()
        for update in self.updates():
            if update or not but_the_first:
                durable.delete(self.path(update))


def write(path: Path, state: State) -> None:
    """Write a checkpoint file. Raises DiskRefused."""
    buffer = io.BytesIO()
    about = {_UPDATE: np.array(state.update), _DIGEST: np.array(state.digest())}
    np.savez(buffer, allow_pickle=False, **about, **state.arrays())
    durable.write_atomically(path, buffer.getvalue())


def load(path: Path, like: State) -> State:
    """Read a checkpoint file. Raises BadCheckpoint if it is not sound, or its arrays are not those of `like`."""
    with _opened(path) as (file, found):
        return like.with_arrays(*_read(path, file, found, kinds(like.arrays())))


def load_weights(path: Path, like: State) -> State:
    """Read what a checkpoint file, or one of weights alone, says of the policy: a state without an optimizer.

    Raises BadCheckpoint if it is not sound, or its arrays are neither those of `like` nor its weights.
    """
    with _opened(path) as (file, found):
        expected = like.arrays() if found.keys() & like.optimizer.keys() else like.weights
        update, arrays = _read(path, file, found, kinds(expected))
    return State(update, {name: arrays[name] for name in like.weights}, {})


def load_any(path: Path) -> State:
    """Read a checkpoint file whatever its arrays are called: all of them as weights. Raises BadCheckpoint.

    For systems that know their arrays by no list; where they are known, `load` refuses others.
    """
    with _opened(path) as (file, found):
        expected = {name: kind for name, kind in found.items() if name not in _ABOUT}
        return State(*_read(path, file, found, expected), {})


def kinds_in(path: Path) -> archive.Kinds:
    """Shape and dtype of each of a file's arrays, by name; nothing but headers is read. Raises BadCheckpoint."""
    with _opened(path) as (_, found):
        return {name: kind for name, kind in found.items() if name not in _ABOUT}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[zipfile.ZipFile, archive.Kinds]]:
    """A file and what it is said to hold. Whatever goes wrong while it is read becomes a BadCheckpoint."""
    try:
        if path.exists() and not path.is_file():
            raise BadCheckpoint(f"{path} cannot be read (it is no file)")
        with zipfile.ZipFile(path) as file:
            yield file, archive.kinds(file)
    except BadCheckpoint:
        raise
    except FileNotFoundError:
        raise BadCheckpoint(f"there is no {path}") from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # a damaged table of contents leads to places before the file's beginning
            raise BadCheckpoint(f"{path} is damaged (OSError)") from None
        raise BadCheckpoint(f"{path} cannot be read ({error.strerror or error})") from None
    except MemoryError:
        raise BadCheckpoint(f"{path} is larger than the memory that is left") from None
    except Exception as error:  # a damaged zip file fails in zipfile, struct, ast or NumPy, each in its own way
        raise BadCheckpoint(f"{path} is damaged ({type(error).__name__})") from None


def _read(path: Path, file: zipfile.ZipFile, found: archive.Kinds, expected: archive.Kinds) -> tuple[int, Arrays]:
    """The update and the arrays, once what the file is said to hold is what is expected."""
    _expect_names(path, found, {**expected, **_ABOUT})
    if difference := archive.difference(found, {**expected, **_ABOUT}):
        raise BadCheckpoint(f"{path} is of another shape ({difference})")
    arrays = archive.read(file, [*_ABOUT, *expected])
    update, digest = int(arrays.pop(_UPDATE)), str(arrays.pop(_DIGEST))
    if update < 0 or digests.digest(arrays) != digest:
        raise BadCheckpoint(f"{path} is damaged (its digest is not that of its arrays)")
    return update, arrays


def _expect_names(path: Path, found: archive.Kinds, expected: archive.Kinds) -> None:
    """A name that nobody knows must not be taken for a weight, nor a missing one for zeros."""
    for name in sorted(expected.keys() - found.keys()):
        raise BadCheckpoint(f"{path} is damaged (it lacks {name})")
    for name in sorted(found.keys() - expected.keys()):
        raise BadCheckpoint(f"{path} is damaged (nobody knows its {name!r:.40})")
