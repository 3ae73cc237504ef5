"""A run's directory: opened by one driver at a time, started, resumed or begun anew.

config.json            settings, package versions, digest of the initial weights
metrics.jsonl          one line an update     } the ledger
rollouts.jsonl         one line a rollout     }
checkpoints/           update-00000120.npz, ...; that of update 0 where the run was given weights to begin with
properties/            what the Antithesis SDK saw, one file a process
tracked.json, tensorboard/  what was shown elsewhere, and event files (track.py)
traceback.txt          of exceptions of our own, if there were any
ray-processes.json     which of Ray's processes are this driver's, while it runs
lock                   held by the driver that writes; says which it is
"""

import fcntl
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitexact.cli.exits import TRACEBACK, BadInput, DiskRefused
from bitexact.storage import config, durable
from bitexact.storage.checkpoints import BadCheckpoint, Checkpoints
from bitexact.storage.ledger import EVENTS, METRICS, ROLLOUTS, Ledger
from bitexact.storage.run import CHECKPOINTS, PROPERTIES, Run, WrongBeginning
from bitexact.storage.state import State

LOCK = "lock"
LEDGER = (METRICS, ROLLOUTS, EVENTS)
TRACKED, TENSORBOARD = "tracked.json", "tensorboard"  # written by track.py


@dataclass(frozen=True)
class Opening:
    """How a run directory is to be opened: with no flag, for a run that is new."""

    directory: Path
    config: dict[str, Any]  # what config.json keeps of the run's settings
    first: State  # what the run begins with
    first_is_given: bool = False  # the settings do not lead to it: it is kept, as the checkpoint of update 0
    resume: bool = False
    overwrite: bool = False
    notes: Sequence[str] = ()  # what the ledger is to say of it


@dataclass(frozen=True)
class RunDirectory(Run):
    """A run directory that this process holds the lock of."""

    lock: int  # its file's descriptor
    first: State  # what the run begins with
    notes: Sequence[str] = ()  # what its ledger is to say of how it was opened

    def holds_lock(self) -> bool:
        """Whether the lock file is still the one that this process locked."""
        try:
            return os.path.samestat(os.fstat(self.lock), (self.path / LOCK).stat())
        except OSError:
            return False

    def expect_in_place(self) -> None:
        """Raise DiskRefused if the directory is not where it was, or is another one without a lock."""
        if not (self.path / LOCK).exists():
            raise DiskRefused(f"{self.path} was deleted or moved while it was written: its updates went with it.")

    def restore(self, tell: Callable[[str], None]) -> State:
        """The newest good state: of a checkpoint that the ledger bears out, or the first one. Damage is told of."""
        for sentence in self.ledger.damage:
            tell(sentence)
        return self.newest_state(self.first, tell) or self.first


@contextmanager
def open_for_writing(opening: Opening, tell: Callable[[str], None]) -> Iterator[RunDirectory]:
    """A run directory, locked until the block ends: new, resumed, or begun anew.

    Raises BadInput if it cannot be written, is being written, or holds a run and nothing says what to do with it.
    """
    directory, first = opening.directory, opening.first
    with locked(directory) as lock:
        _expect_files(directory)
        holds_a_run = _holds_a_run(directory)
        if opening.resume:
            first = _check_same_run(Run.open(directory), first)
            Ledger(directory).cut_torn_lines(tell)
        elif holds_a_run and not opening.overwrite:
            raise BadInput(
                f"{directory} already holds a run: go on with it with --resume, "
                f"or delete it and start anew with --overwrite."
            )
        elif holds_a_run:
            _clear(directory)
        else:
            Checkpoints(directory / CHECKPOINTS).clear()
        _delete_leftovers(directory)
        if opening.first_is_given:
            Checkpoints(directory / CHECKPOINTS).save(first)
        config.write(directory, opening.config, first.digest())
        try:
            yield RunDirectory(**vars(Run.open(directory)), lock=lock, first=first, notes=opening.notes)
        except BadInput:
            if not opening.resume and Ledger(directory).last_update == 0:
                _clear(directory)  # it was refused before it began: the mended command is not to be refused for it
            raise


@contextmanager
def locked(directory: Path) -> Iterator[int]:
    """Hold the lock of a run directory, which is made where there is none: its descriptor.

    Raises BadInput if the directory cannot be written, or is being written.
    """
    lock = _open_lock(directory)
    try:
        _take_lock(lock, directory)
        yield lock
    finally:
        os.close(lock)


def _open_lock(directory: Path) -> int:
    try:
        durable.make_folder(directory)
        return os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if error.errno in durable.TROUBLE:
            raise durable.refused(directory / LOCK, error) from error
        raise BadInput(f"{directory} cannot be written ({error.strerror}): choose another --run-dir.") from None


def _take_lock(lock: int, directory: Path) -> None:
    """Lock the directory, for as long as this process lives at most: the kernel lets go of a dead one's lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 200, 0).decode(errors="replace").strip() or "another driver"
        raise BadInput(f"{directory} is being written by {holder}: stop it, or choose another --run-dir.") from None
    with durable.refusing(directory / LOCK):
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"driver process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)


def _expect_files(directory: Path) -> None:
    """Raise BadInput where something that is no file stands in the place of one of the run's."""
    for name in (config.CONFIG, *LEDGER):
        path = directory / name
        if path.exists() and not path.is_file():
            raise BadInput(f"{path} is no file: move it away, or choose another --run-dir.")


def _holds_a_run(directory: Path) -> bool:
    """Whether there is anything of a run. First weights alone are none: it was killed before it began."""
    if any((directory / name).exists() for name in (config.CONFIG, METRICS, ROLLOUTS)):
        return True
    return any(update > 0 for update in Checkpoints(directory / CHECKPOINTS).updates())


def _check_same_run(run: Run, initial: State) -> State:
    """The run's first state. Raises BadInput unless what is here would go on as it began: same packages and weights."""
    if differences := run.other_versions():
        raise BadInput(
            f"the run in {run.path} was made with other package versions: here is {differences}; "
            f"install the run's versions to resume it."
        )
    try:
        return run.first_state(initial)
    except BadCheckpoint as bad:
        raise BadInput(f"{bad}: the run began with it; restore it, or start anew with --overwrite.") from None
    except WrongBeginning:
        raise BadInput(
            f"{run.path / config.CONFIG} is damaged: its settings do not give its initial weights; "
            f"restore it, or start anew with --overwrite."
        ) from None


def _delete_leftovers(directory: Path) -> None:
    durable.delete_leftovers(directory, config.CONFIG)
    Checkpoints(directory / CHECKPOINTS).delete_leftovers()


def _clear(directory: Path) -> None:
    """Delete a run's files, and nothing that is not a run's.

    Last what it goes on by where this is cut off: its config, and after that the weights that it was given.
    """
    checkpoints = Checkpoints(directory / CHECKPOINTS)
    for name in LEDGER:
        durable.delete(directory / name)
    checkpoints.clear(but_the_first=True)
    shown = [directory / TRACKED, *(directory / TENSORBOARD).glob("events.out.tfevents.*")]
    for path in [*(directory / PROPERTIES).glob("*.jsonl"), *shown, directory / TRACEBACK]:
        durable.delete(path)
    durable.delete(directory / config.CONFIG)
    checkpoints.clear()
