"""What a killed driver leaves running: Ray's agents live on for most of a minute, and crash loops stack them.

    end_left_behind(run.path)            # before Ray starts: what the last driver of this run left
    with noted(run.path):                # while Ray runs inside this program
        ...

A process is ended only if its number, its start time and the machine are those that were written down: numbers are
used again.
"""

import contextlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bitexact.storage import durable

NOTE = "ray-processes.json"  # {"host": ..., "processes": [[number, start time in seconds], ...]}


@contextmanager
def noted(folder: Path) -> Iterator[None]:
    """Write down what this process has started, for as long as the block takes. Raises DiskRefused."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append([child.pid, child.create_time()])
    durable.write_atomically(folder / NOTE, json.dumps({"host": socket.gethostname(), "processes": found}).encode())
    yield
    durable.delete(folder / NOTE)  # not after an exception: then the block may have ended nothing


def end_left_behind(folder: Path) -> int:
    """End what the note in a folder names and still runs, and say how much that was. A damaged note names nothing.

    Whoever calls this holds the folder's lock: so whoever wrote the note is dead.
    """
    durable.delete_leftovers(folder, NOTE)
    ended = 0
    for number, started in _read(folder / NOTE):
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(number)
            if process.create_time() == started:
                process.kill()
                ended += 1
    durable.delete(folder / NOTE)
    return ended


def _read(path: Path) -> list[tuple[int, float]]:
    try:
        note = json.loads(path.read_bytes())
        if note["host"] != socket.gethostname():
            return []
        return [(int(number), float(started)) for number, started in note["processes"] if int(number) > 1]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return []
