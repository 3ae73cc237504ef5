"""logs/worker.log: what a run showed while it ran, with the time of day, for whoever was not there.

progress = Logged(progress, run / "logs" / "worker.log")
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitexact.cli.progress import Progress

LOGS, LOG = "logs", "worker.log"


class Logged(Progress):
    """A way to show progress that also writes it down. A log is never worth a run: what cannot be written is not."""

    def __init__(self, shown: Progress, path: Path) -> None:
        self._shown, self._path = shown, path
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)

    def note(self, text: str) -> None:
        """One line about something that happened."""
        self._shown.note(text)
        self.write(text)

    def update(self, metrics: Mapping[str, Any]) -> None:
        """An iteration was committed."""
        self._shown.update(metrics)
        self.write(
            f"iteration {metrics['update']}, {metrics['steps_total']:,} steps: reward {metrics['reward_mean']:+.3f}, "
            f"{metrics['steps_per_s']:,.0f} steps/s, digest {metrics['weights_digest'][:12]}"
        )

    def write(self, text: str) -> None:
        """A line for the log alone."""
        with contextlib.suppress(OSError), self._path.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")
