"""Writes that last: what these functions have returned from is on the disk, whole, whatever is killed afterwards."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from bitexact.cli.exits import BadInput, DiskRefused, Ended

TROUBLE = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
)  # the disk's own; others are of names


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by `data`, or leave it as it was. Raises DiskRefused.

    Temporary file in the same folder, fsync, rename, fsync of the folder: a crash leaves the old file or the new one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # as `delete_leftovers` knows it
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # a disk that refuses everything
            temporary.unlink(missing_ok=True)
        raise refused(path, error) from error


def append(path: Path, data: bytes) -> None:
    """Add `data` to a file's end, whole or not at all where this process lives on. Raises DiskRefused.

    A process killed half-way leaves the beginning of `data`: `ledger.Ledger.cut_torn_lines` takes it off again.
    """
    with refusing(path):
        is_new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            length = os.fstat(descriptor).st_size
            try:
                _write_all(descriptor, data)
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, length)
                raise
        finally:
            os.close(descriptor)
        if is_new:
            sync_folder(path.parent)


def truncate(path: Path, length: int) -> None:
    """Cut a file to `length` bytes. Raises DiskRefused."""
    with refusing(path):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.ftruncate(descriptor, length)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def delete(path: Path) -> None:
    """Delete a file, if it is there, so that no power cut brings it back. Raises DiskRefused."""
    with refusing(path):
        try:
            path.unlink()
        except FileNotFoundError:
            return
        sync_folder(path.parent)


def delete_leftovers(folder: Path, name: str) -> None:
    """Delete what killed writers of `name`, which may hold wildcards, have left half written. Raises DiskRefused."""
    for path in folder.glob(f".{name}.*.tmp"):
        delete(path)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, under names that last. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing or [path]:  # one that is there may have been made by a process killed before its sync
        with contextlib.suppress(PermissionError):  # a folder that may be passed through but not read
            sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last: renames and new files are lost in a power cut without it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def refusing(path: Path) -> Iterator[None]:
    """Turn the disk's errors into DiskRefused, with a file's name."""
    try:
        yield
    except OSError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OSError) -> DiskRefused:
    """The sentence for a write that failed."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and not path.parent.is_dir():
        return DiskRefused(f"{path} cannot be written: {path.parent} was deleted or moved meanwhile.")
    return DiskRefused(f"{path} cannot be written ({error.strerror}): make room or mend the disk.")


def unwritable(path: Path, error: OSError) -> Ended:
    """The end of a command that could not write a file which its user has named: the disk's fault, or the name's."""
    if error.errno in TROUBLE:
        return refused(path, error)
    return BadInput(f"{path} cannot be written ({error.strerror or str(error).splitlines()[0]}).")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
