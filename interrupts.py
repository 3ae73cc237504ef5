"""Ctrl-C and SIGTERM: at once while nothing is at stake, between two steps of the work once it runs."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from exits import Ended, Interrupted

_STOPS = (signal.SIGINT, signal.SIGTERM)
_RAY_MAY_FINISH_S, _AGAIN_EVERY_S = 2.0, 0.5


class Interrupts:
    """Turns SIGINT and SIGTERM into `exits.Interrupted`."""

    def __init__(self) -> None:
        self._caught: int | None = None
        self._deferring = False
        self._ray_starts = False
        self.install()

    def install(self) -> None:
        """Take the signals over; again after `ray.init`, which puts handlers of its own."""
        for number in _STOPS:
            signal.signal(number, self._on_signal)

    def defer(self) -> None:
        """From now on only note a signal, for `check`; a second one still ends the program at once."""
        self._deferring = True
        self.install()

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self._caught is not None:
            raise Interrupted(self._caught)

    @contextmanager
    def while_ray_starts(self) -> Iterator[None]:
        """Keep our handlers: Ray puts its own, which end the program without a word, and swallows what ours raise.

        So a signal is only noted at first; what Ray still does seconds later is broken off, until it lets go.
        """
        put, handlers = signal.signal, {number: signal.getsignal(number) for number in (*_STOPS, signal.SIGALRM)}
        signal.signal(signal.SIGALRM, lambda *_: self.check())
        signal.signal = lambda number, _: signal.getsignal(number)  # type: ignore[assignment]
        self._ray_starts = True
        try:
            yield
        finally:
            self._ray_starts = False
            signal.setitimer(signal.ITIMER_REAL, 0.0)  # ours; or Ray's, at whose end it aborts the program
            signal.signal = put
            for number, handler in handlers.items():
                signal.signal(number, handler)  # Ray's C++ part has put another beneath Python's

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """What fails once a signal came, failed of it: Ray's processes get it too where a whole group does."""
        try:
            yield
        except Ended:
            raise
        except Exception:
            self.check()
            raise

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._deferring or self._caught is not None:
            raise Interrupted(number)
        self._caught = number
        if self._ray_starts:
            signal.setitimer(signal.ITIMER_REAL, _RAY_MAY_FINISH_S, _AGAIN_EVERY_S)
