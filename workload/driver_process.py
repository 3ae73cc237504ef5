"""One training as its supervisor sees it: the driver is started, killed and resumed, its commits are read as it tells.

    driver = DriverProcess(settings)
    driver.start()
    while driver.exit_code() is None:
        for commit in driver.new_commits(): ...

Each driver's output is kept beside the run directory, in RUN-driver-NNN.log.
"""

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO

from bitexact.storage import durable
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.ledger import METRICS, Ledger
from bitexact.storage.run import CHECKPOINTS
from training.settings import Settings
from workload.driver_command import DRIVER, committed, start_or_resume

_WAIT_S = 10.0  # for a killed process to be gone


@dataclass(frozen=True)
class Commit:
    """An update that the driver said it had committed."""

    update: int
    digest: str  # as far as it is shown
    again: bool  # it had been in the ledger when this driver started
    at_s: float  # on the monotonic clock


class DriverProcess:
    """A run directory and the driver at work on it: one after the other, as each is killed or ends."""

    def __init__(self, settings: Settings) -> None:
        self.directory = settings.directory
        self._settings = settings
        self._driver: subprocess.Popen[bytes] | None = None
        self._drivers = 0
        self._listening: threading.Thread | None = None
        self._commits: SimpleQueue[Commit] = SimpleQueue()
        self.last_words = "none"
        self.has_committed = False  # the driver that runs now

    def start(self, environment: dict[str, str] | None = None) -> None:
        """Begin the training, or go on with it where it is begun."""
        usual = Settings().lasting()
        chosen = {name: value for name, value in self._settings.lasting().items() if value != usual[name]}
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items()]
        self._drivers += 1
        self.has_committed = False
        self._driver = subprocess.Popen(
            start_or_resume(DRIVER, self.directory, flags),
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the workload
        )
        log_path = self.directory.with_name(f"{self.directory.name}-driver-{self._drivers:03d}.log")
        what = (self._driver.stdout, log_path, self.last_update)
        self._listening = threading.Thread(target=self._listen, args=what, daemon=True)
        self._listening.start()

    def _listen(self, said: IO[bytes], log_path: Path, recorded: int) -> None:
        """Keep what a driver says, and note its commits with their times."""
        with said, log_path.open("wb") as log:
            for line in said:
                log.write(line)
                log.flush()
                self.last_words = line.decode(errors="replace").strip() or self.last_words
                found = committed(line.decode(errors="replace"))
                if found:
                    update, digest = found
                    self.has_committed = True
                    self._commits.put(Commit(update, digest, update <= recorded, time.monotonic()))

    def exit_code(self) -> int | None:
        """The exit code of a driver that has ended, and whose last commits are known; None while it runs."""
        if self._driver is None or self._driver.poll() is None or self._is_listening():
            return None
        return self._driver.returncode

    def _is_listening(self) -> bool:
        return self._listening is not None and self._listening.is_alive()

    def kill(self) -> int:
        """Kill the driver as a crash would, unless it has ended, and return its process."""
        assert self._driver is not None, "it was never started"
        self._driver.send_signal(signal.SIGKILL)
        self._driver.wait(_WAIT_S)
        if self._listening:
            self._listening.join(_WAIT_S)
        return self._driver.pid

    def new_commits(self) -> list[Commit]:
        """The commits that drivers told of since this was last asked."""
        return [self._commits.get() for _ in range(self._commits.qsize())]

    @property
    def last_update(self) -> int:
        """The last one in the ledger."""
        return Ledger(self.directory).last_update

    def has_ledger(self) -> bool:
        """Whether there is a ledger to tear."""
        return self.last_update > 0

    def has_checkpoint(self) -> bool:
        """Whether there is a checkpoint to tear."""
        return bool(self._checkpoints().updates())

    def tear_checkpoint(self, rank: int, at: float, cuts: bool) -> str:
        """Cut one of the two newest checkpoints off, or flip a bit of it, as a bad disk would. Says what was done."""
        checkpoints = self._checkpoints()
        newest = checkpoints.updates()[-2:]
        path = checkpoints.path(newest[rank % len(newest)])
        data = bytearray(path.read_bytes())
        place = int(at * len(data))
        if cuts:
            del data[place:]
        else:
            data[place] ^= 1 << rank % 8
        path.write_bytes(data)
        return f"{path.name} {'cut off' if cuts else 'flipped'} at byte {place:,}"

    def tear_ledger(self, at: float) -> str:
        """Leave the beginning of a line at the ledger's end, as a driver killed while it writes does."""
        path = self.directory / METRICS
        line = path.read_bytes().splitlines()[-1]
        torn = line[: 1 + int(at * (len(line) - 1))]
        durable.append(path, torn)
        return f"{len(torn)} bytes of a line left in {path.name}"

    def _checkpoints(self) -> Checkpoints:
        return Checkpoints(self.directory / CHECKPOINTS)
