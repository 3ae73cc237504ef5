"""Ctrl-C, SIGTERM, a closed terminal: at once while nothing is at stake, between two steps of the work once it runs."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bitexact.cli.exits import BadInput, Ended, Interrupted

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PATIENCE_S = 3.5


class Interrupts:
    """Turns SIGINT, SIGTERM and SIGHUP into `exits.Interrupted`; one that is ignored, as under `nohup`, stays so."""

    def __init__(self) -> None:
        self._caught: int | None = None
        self._deferring = False
        self._ignored = {number for number in _STOPS if signal.getsignal(number) is signal.SIG_IGN}
        self.install()

    def install(self) -> None:
        """Take the signals over; again after `ray.init`, which puts handlers of its own."""
        for number in _STOPS:
            if number not in self._ignored:
                signal.signal(number, self._on_signal)

    def defer(self, end_now: Callable[[Interrupted], None] | None = None) -> None:
        """From now on only note a signal, for `check`; a second one still ends the program at once.

        `end_now` is for work that can be broken off anywhere: it is called if the program has not ended some seconds
        after the signal, since Ray may be in the middle of its start, or wait for a process that got the signal too.
        """
        self._deferring = True
        self.install()
        if end_now:
            caught, note = socket.socketpair()
            note.setblocking(False)
            signal.set_wakeup_fd(note.detach())  # written to at once; a handler waits until Ray's C++ part returns
            threading.Thread(target=_end_after_signal, args=(caught, end_now), daemon=True).start()

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self._caught is not None:
            raise Interrupted(self._caught)

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What fails once a signal came, failed of it: Ray's processes get it too where a whole group does."""
        try:
            yield
        except Exception as error:
            if isinstance(error, BadInput) or not isinstance(error, Ended):
                self.check()
            raise

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._deferring or self._caught is not None:
            raise Interrupted(number)
        self._caught = number


def _end_after_signal(caught: socket.socket, end_now: Callable[[Interrupted], None]) -> None:
    while (number := caught.recv(1)[0]) not in _STOPS:
        pass
    time.sleep(_PATIENCE_S)
    end_now(Interrupted(number))


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Keep the handlers as they are: Ray puts its own while it starts, which end the program without a word."""
    put, handlers = signal.signal, {number: signal.getsignal(number) for number in _STOPS}
    signal.signal = lambda number, _: signal.getsignal(number)  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = put
        for number, handler in handlers.items():
            signal.signal(number, handler)  # Ray's C++ part has put another beneath Python's
        signal.alarm(0)  # ... and, if it caught a signal, an alarm after which it aborts
