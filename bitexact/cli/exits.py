"""How an entry point ends: its exit codes, and one sentence on standard error for each but 0.

0 done                              5 a property that must be reached was not
1 a property failed, or a digest    6 an exception of our own: a bug, its traceback in a file
  differs                           129, 130, 143 interrupted (its terminal closed, Ctrl-C, SIGTERM)
2 bad input                         141 nobody reads its output any more
3 the cluster is lost
4 the disk is full or refuses, also that of its output
"""

import contextlib
import errno
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from bitexact.cli import output

CODES = (  # for the help of every command
    "Exit codes: 0 done; 1 a property failed, or a digest differs; 2 bad input; 3 the cluster is lost, or a server "
    "does not answer; 4 the disk is full or refuses; 5 a property that must be reached was not; 6 a bug in this "
    "program; 129, 130 and 143 interrupted; 141 nobody reads the output."
)
TRACEBACK = "traceback.txt"  # in a run directory


class Ended(Exception):
    """The program ends here. The text is one sentence: what, where, and what to do."""

    exit_code = 1


class PropertyFailed(Ended):
    """A property that guards a commit does not hold."""


class Differs(Ended):
    """Two things that must be equal to the bit are not."""


class BadInput(Ended):
    """A setting, a file or an address that cannot be used."""

    exit_code = 2


class ClusterLost(Ended):
    """No node could be used for as long as the driver was to wait."""

    exit_code = 3


class DiskRefused(Ended):
    """A write failed: the disk is full, gone or read-only."""

    exit_code = 4


class NotReached(Ended):
    """A property that must be reached was not."""

    exit_code = 5


class Interrupted(Ended):
    """A signal asked the program to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.exit_code = 128 + signal_number


class Unread(Interrupted):
    """Whoever read the output has gone: `| head` does."""

    def __init__(self) -> None:
        super().__init__(signal.SIGPIPE)
        self.args = ("nobody reads the output any more.",)


class Bug(Ended):
    """An exception of our own, which nobody meant to raise."""

    exit_code = 6


_hangs = threading.Event()  # set once a part of this process will not end by itself
_last_words = threading.Lock()  # taken by whoever says first how the program ends


def leave_what_hangs() -> None:
    """From now on this process ends without waiting for its other threads, or for what is to be done at its end."""
    _hangs.set()


def at_once(end: Ended) -> None:
    """End the program and all that it started, from any thread, wherever the others are."""
    threading.excepthook = lambda _: None  # Ray's threads fail as its processes end, and have nothing to add
    for child in psutil.Process().children(recursive=True):  # Ray's agents outlive a raylet that is killed
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    _say(end)
    os._exit(end.exit_code)


@contextlib.contextmanager
def bugs_noted_in(folder: Path, tell: Callable[[Exception], None]) -> Iterator[None]:
    """Turn an exception that nobody meant to raise into a Bug, once told of, with its traceback in a folder's file."""
    try:
        yield
    except Ended:
        raise
    except Exception as error:
        bug = _bug(error, folder / TRACEBACK)
        tell(error)
        raise bug from error


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run an entry point with the command line's arguments, and leave the process with its exit code."""
    if _last_words.locked():
        _last_words.release()  # another entry point has run in this process
    try:
        try:
            end = _end_of(main)
        finally:
            sys.stdout.flush()
    except Ended as failed:  # what was still to be written cannot be, such as --help
        end = failed
    if _hangs.is_set():
        at_once(end) if end else os._exit(0)
    if end:
        _say(end)
        sys.exit(end.exit_code)


def _end_of(main: Callable[[Sequence[str]], None]) -> Ended | None:
    try:
        if not output.guard(_unwritable):
            raise DiskRefused("standard output is closed: send it somewhere, if only to /dev/null.")
        _expect_a_folder_to_be_in()
        main(sys.argv[1:])
    except Ended as end:
        return end
    except KeyboardInterrupt:
        return Interrupted(signal.SIGINT)
    except Exception as error:
        return _bug(error, Path(tempfile.gettempdir()) / f"{_program()}-{os.getpid()}-{TRACEBACK}")
    return None


def _expect_a_folder_to_be_in() -> None:
    try:
        os.getcwd()  # noqa: PTH109 - nothing is made of it
    except OSError:
        raise BadInput("the current folder is gone: change to one that is there.") from None


def _unwritable(error: OSError) -> Ended:
    """How the program ends whose output cannot be written."""
    if error.errno == errno.EPIPE:
        return Unread()
    if error.errno == errno.EIO and os.isatty(1):
        return Interrupted(signal.SIGHUP)  # its terminal is closed
    return DiskRefused(f"standard output cannot be written ({error.strerror}): make room, or send it elsewhere.")


def _bug(error: Exception, path: Path) -> Bug:
    """The sentence for an exception of our own; its traceback is added to a file, or shown if there is none."""
    text = "".join(traceback.format_exception(error))
    try:
        with path.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sys.argv}\n{text}\n")
        place = f"its traceback is in {path}"
    except OSError:
        print(text, file=sys.stderr, flush=True)
        place = "its traceback is above"
    what = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    named = f"{type(error).__name__}: {what}" if what else type(error).__name__
    return Bug(f"a bug in this program ({named}); {place}: please report it, as CONTRIBUTING.md says.")


def _program() -> str:
    return Path(sys.argv[0]).name


def _say(end: Ended) -> None:
    if _last_words.acquire(blocking=False):
        print(f"{_program()}: {end}", file=sys.stderr, flush=True)
