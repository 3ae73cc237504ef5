"""Ctrl-C and SIGTERM: at once while nothing is at stake, between two steps of the work once it runs."""

import signal
from types import FrameType

from exits import Interrupted


class Interrupts:
    """Turns SIGINT and SIGTERM into `exits.Interrupted`."""

    def __init__(self) -> None:
        self._caught: int | None = None
        self._deferring = False
        self.install()

    def install(self) -> None:
        """Take the signals over; again after `ray.init`, which puts handlers of its own."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def defer(self) -> None:
        """From now on only note a signal, for `check`; a second one still ends the program at once."""
        self._deferring = True
        self.install()

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self._caught is not None:
            raise Interrupted(self._caught)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self._deferring or self._caught is not None:
            raise Interrupted(number)
        self._caught = number
