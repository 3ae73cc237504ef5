"""A run is held between two iterations while there is a file `pause` in its folder, or after SIGUSR1 until SIGUSR2."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

PAUSE = "pause"
_POLL_S = 0.1


def obey_signals(directory: Path) -> None:
    """From now on SIGUSR1 makes the file, SIGUSR2 takes it away."""

    def hold(number: int, frame: FrameType | None) -> None:
        (directory / PAUSE).touch()

    def go_on(number: int, frame: FrameType | None) -> None:
        (directory / PAUSE).unlink(missing_ok=True)

    signal.signal(signal.SIGUSR1, hold)
    signal.signal(signal.SIGUSR2, go_on)


def wait_while_paused(directory: Path, tell: Callable[[str], None], check: Callable[[], None]) -> None:
    """Wait as long as the file is there; `check` raises if the run is to end meanwhile."""
    if not (directory / PAUSE).exists():
        return
    tell(f"paused: delete {directory / PAUSE}, or send SIGUSR2, to go on")
    while (directory / PAUSE).exists():
        check()
        time.sleep(_POLL_S)
    tell("going on")
