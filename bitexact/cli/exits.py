"""How an entry point ends: its exit codes, and one sentence on standard error for each but 0.

0 done                              3 the cluster is lost
1 a property failed, or a digest    4 the disk is full or refuses
  differs                           5 a property that must be reached was not
2 bad input                         130, 143 interrupted (Ctrl-C, SIGTERM)
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

import psutil


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


_last_words = threading.Lock()  # taken by whoever says first how the program ends


def at_once(end: Ended) -> None:
    """End the program and all that it started, from any thread, wherever the others are."""
    threading.excepthook = lambda _: None  # Ray's threads fail as its processes end, and have nothing to add
    for child in psutil.Process().children(recursive=True):  # Ray's agents outlive a raylet that is killed
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    _say(end)
    os._exit(end.exit_code)


def run(main: Callable[[Sequence[str]], None]) -> None:
    """Run an entry point with the command line's arguments, and leave the process with its exit code."""
    if _last_words.locked():
        _last_words.release()  # another entry point has run in this process
    try:
        main(sys.argv[1:])
    except Ended as end:
        _say(end)
        sys.exit(end.exit_code)
    except KeyboardInterrupt:
        _say(Interrupted(signal.SIGINT))
        sys.exit(128 + signal.SIGINT)


def _say(end: Ended) -> None:
    if _last_words.acquire(blocking=False):
        print(f"{sys.argv[0].rsplit('/', 1)[-1]}: {end}", file=sys.stderr, flush=True)
