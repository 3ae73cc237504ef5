"""Standard output and standard error of every command, where nobody reads them or their disk is full.

What cannot be written to standard output ends the program in an orderly way, once: the caller says by which exception.
What cannot be written to standard error is dropped, as nobody is left to be told.
"""

import io
import os
import sys
from collections.abc import Callable
from typing import TextIO

_LAST = 2  # standard input, output and error are 0, 1 and 2


class _Descriptor(io.FileIO):
    """One of the two, at its lowest level. After the first failure nothing is written any more, and nothing fails."""

    def __init__(self, descriptor: int, ending: Callable[[OSError], Exception] | None) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._ending, self._failed = ending, False

    def write(self, data) -> int:  # type: ignore[no-untyped-def] # a buffer, as FileIO takes it
        """All of the data, or what a pipe takes of it."""
        if not self._failed:
            try:
                return super().write(data)
            except OSError as error:
                self._failed = True
                if self._ending:
                    raise self._ending(error) from None
        return len(memoryview(data))


def guard(ending: Callable[[OSError], Exception]) -> bool:
    """Take both over. Returns whether standard output is there at all: `>&-` closes it.

    A closed one is opened on nothing: the next file that is opened would get its number, and what is printed.
    """
    is_there = sys.stdout is not None
    while (spare := os.open(os.devnull, os.O_RDWR)) <= _LAST:
        pass
    os.close(spare)
    if sys.stdout is None or sys.stdout is sys.__stdout__:  # else a test's
        sys.stdout = _text(1, ending, sys.stdout)
    if sys.stderr is None or sys.stderr is sys.__stderr__:
        sys.stderr = _text(2, None, sys.stderr)
    return is_there


def _text(descriptor: int, ending: Callable[[OSError], Exception] | None, like: TextIO | None) -> TextIO:
    """As Python's own, but that a file's name that is no UTF-8 can be printed."""
    raw = _Descriptor(descriptor, ending)
    by_line = descriptor == 2 or raw.isatty()
    encoding = like.encoding if like else "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=by_line)
