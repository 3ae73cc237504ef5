"""A place where a run is shown while it is trained or later, whatever the place: how far it has been, and its trouble.

What was shown is noted in RUN/tracked.json, so that it is shown once, also after a resume. While a run is followed, a
place that does not answer is told of once and asked again every minute; what it has missed it gets as soon as it
answers, or later.
"""

import contextlib
import json
import math
import select
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bitexact.reporting.charts import Charts, Line
from bitexact.storage import durable
from bitexact.storage.ledger import METRICS
from bitexact.storage.run_directory import TRACKED

_LOOK_EVERY_S, _ASK_AGAIN_AFTER_S = 1.0, 60.0
_AT_A_TIME = 200  # updates


class Sink(ABC):
    """One place where a run is shown, and how far it has been."""

    name: str

    def __init__(self, run: Path, charts: Charts, follows: bool) -> None:
        self.run, self.charts, self._follows = run, charts, follows
        self._offset, self._shown, self._waiting = 0, self.tracked().get("update", 0), list[Line]()
        self._trouble, self._ask_again_at = "", 0.0

    def catch_up(self) -> None:
        """Show what was committed since. Trouble is said once, and is asked after again later."""
        if time.monotonic() < self._ask_again_at:
            return
        try:
            self._read()
            while self._waiting:
                lines = self._waiting[:_AT_A_TIME]
                self.show(lines)
                self.note(update=lines[-1]["update"])
                del self._waiting[: len(lines)]
            self._trouble = ""
        except Exception as error:  # whatever a client library raises: training must not hear of it
            if self._follows and not self._trouble:
                print(f"{self.name}: {_first_line(error)}; training goes on.", file=sys.stderr, flush=True)
            self._trouble = f"{self.name} lacks the last {len(self._waiting)} updates: {_first_line(error)}."
            self._ask_again_at = time.monotonic() + _ASK_AGAIN_AFTER_S

    def close(self) -> str:
        """Show the rest. Returns what is missing, in a sentence, if anything is."""
        self._ask_again_at = 0.0 if not self._trouble else math.inf
        self.catch_up()
        if not self._trouble:
            try:
                self.end()
            except Exception as error:
                self._trouble = f"{self.name}: {_first_line(error)}."
        return self._trouble

    @abstractmethod
    def show(self, lines: list[Line]) -> None:
        """Show updates, in order."""

    @abstractmethod
    def end(self) -> None:
        """Nothing more comes for now."""

    def tracked(self) -> dict[str, Any]:
        """What was noted of this sink when it was last shown something."""
        return self._noted().get(self.name, {})

    def began(self, last: Line) -> float:
        """When the run would have begun, had it never stopped, by its last line. Seconds since 1970."""
        return (self.run / METRICS).stat().st_mtime - float(last["wall_time_s"])

    def _noted(self) -> dict[str, dict[str, Any]]:
        """What all sinks have noted."""
        try:
            found = json.loads((self.run / TRACKED).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, **values: Any) -> None:
        """Note something of this sink beside what is noted."""
        noted = self._noted()
        noted[self.name] = noted.get(self.name, {}) | values
        durable.write_atomically(self.run / TRACKED, json.dumps(noted).encode() + b"\n")

    def _read(self) -> None:
        """Take in the whole lines that were added, less those shown before."""
        path = self.run / METRICS
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for text in data[:whole].splitlines():
            with contextlib.suppress(ValueError, KeyError):
                line = json.loads(text)
                if line["update"] > self._shown:
                    self._waiting.append(line)


def show(sinks: Sequence[Sink], follow: bool) -> list[str]:
    """Show what is there; if it is to be followed, also what is added, until standard input ends.

    Returns what could not be shown, in sentences.
    """
    last_look = not follow
    while True:
        for sink in sinks:
            sink.catch_up()
        if last_look:
            break
        last_look = bool(select.select([sys.stdin], [], [], _LOOK_EVERY_S)[0])  # its end, as nothing is written to it
    return [trouble for sink in sinks if (trouble := sink.close())]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]
