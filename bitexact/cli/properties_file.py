"""The file that the Antithesis SDK writes to, such that a disk that refuses does not end what is tested."""

import contextlib
import os
from pathlib import Path

INCOMPLETE = ".incomplete.jsonl"  # how the name of a file ends that lacks something of what its process saw


_OF_PROPERTIES = b'{"antithesis_'  # events have names of their own: the run's files hold them already, line for line


class PropertiesFile:
    """Takes lines as the SDK writes them. One that cannot be written is left out, and the file's name says so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, line: bytes) -> int:
        """Add a line, whole or not at all; one that tells an event is for the platform alone."""
        if not line.startswith(_OF_PROPERTIES):
            return len(line)
        length, written = os.fstat(self._descriptor).st_size, 0
        with contextlib.suppress(OSError):
            written = os.write(self._descriptor, line)
        if written < len(line):
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, length)
            self._rename()
        return len(line)

    def _rename(self) -> None:
        if not self._path.name.endswith(INCOMPLETE):
            named = self._path.with_suffix(INCOMPLETE)
            with contextlib.suppress(OSError):
                self._path.rename(named)
                self._path = named
