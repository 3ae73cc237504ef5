"""The driver in the trainer's container: started where that is due, ended politely, and what its end means.

    driver = Driver(Path("/runs/pong"), [*DRIVER, "--address=pong-head:6379"], ["--batch-size=4"])
    driver.keep(joined=True); driver.stop()

What its supervisor (supervise.py) asks of it at each look. The table of exit codes is there.
"""

import contextlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from workload import scenario
from workload.driver_command import is_begun, sentence, start_or_resume
from workload.scenario import Scenario

FIRST_DELAY_S, LONGEST_DELAY_S = 1.0, 15.0
BAD_INPUT_DELAY_S, DISK_DELAY_S = 60.0, 30.0
DRIVER_STOP_S = 4.0  # with Ray's three, within the ten seconds that Docker grants
# What Ray writes when it ends a process, beside one line that says why: addresses of machine code, by the dozen.
_STACK_OF_RAY = re.compile(r"\s*($|/|\*\*\* |PC: @|@ |\[[^]]*\] logging\.cc)")


class Delay:
    """How long to wait before the next try: doubles until it is forgiven."""

    def __init__(self) -> None:
        self._next_s, self._until = FIRST_DELAY_S, 0.0

    def over(self) -> bool:
        """Whether it is time."""
        return time.monotonic() >= self._until

    def begin(self, delay_s: float | None = None) -> float:
        """Wait from now on, for this long or for twice as long as last time. Returns how long."""
        if delay_s is None:
            delay_s, self._next_s = self._next_s, min(2 * self._next_s, LONGEST_DELAY_S)
        self._until = time.monotonic() + delay_s
        return delay_s

    def forgive(self) -> None:
        """It works: the next delay is the first again."""
        self._next_s = FIRST_DELAY_S


class Driver:
    """The training's driver process, and what is to become of it."""

    def __init__(self, run: Path, command: Sequence[str], settings: Sequence[str] = ()) -> None:
        """`settings` are those of the run that is trained until a scenario is drawn, which has its own."""
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self._scenario: Scenario | None = None
        self._begin(run, settings)

    def _begin(self, run: Path, settings: Sequence[str]) -> None:
        self.run, self._settings = run, settings
        self._delay = Delay()
        self._sentence = ""
        self._ledger_at_first = self._ledger_size()
        self.end: str | None = None  # why it is not started any more
        self.complete = False

    @property
    def running(self) -> bool:
        """Whether its process was started, and not seen to have ended."""
        return self._process is not None

    def has_committed(self) -> bool:
        """Whether an update was committed since this container started, or none is left to be."""
        return self.complete or self._ledger_size() > self._ledger_at_first

    def keep(self, joined: bool) -> None:
        """Start it where that is due; see to its end. A scenario that has been drawn is begun in another run."""
        if self._scenario is None and (drawn := scenario.read()):
            say(f"a scenario is drawn: {' '.join(drawn.flags())}")
            self.stop()
            self._scenario = drawn
            self._begin(self.run.with_name(scenario.RUN), drawn.flags())
        if self._process is None:
            if self.end is None and joined and self._delay.over():
                self._start()
            return
        if self._ledger_size() > self._ledger_at_start:
            self._delay.forgive()
        code = self._process.poll()
        if code is not None:
            self._reader.join(1.0)  # for its last sentence
            self._process = None
            self._ended(code, joined)

    def stop(self) -> None:
        """Stop it: politely, so that it saves a checkpoint, for a few seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(DRIVER_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self) -> None:
        say(f"the driver {'resumes the run' if is_begun(self.run) else 'starts a run'} in {self.run}")
        command = start_or_resume([*self._command, *self._settings], self.run)
        self._sentence, self._ledger_at_start = "", self._ledger_size()
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._pass_on, args=[self._process], daemon=True)
        self._reader.start()

    def _pass_on(self, process: "subprocess.Popen[str]") -> None:
        """Pass standard error on; its sentence tells the driver's own exit codes from Ray's."""
        assert process.stderr is not None
        for line in process.stderr:
            self._sentence = sentence(line) or self._sentence
            if not _STACK_OF_RAY.match(line):
                with contextlib.suppress(OSError):
                    print(line, end="", file=sys.stderr, flush=True)

    def _ended(self, code: int, joined: bool) -> None:
        if code == 0:
            self.complete, self.end = True, "the run is complete"
        elif code == 6 or (code == 1 and self._sentence):
            self.end = f"the driver stays stopped: {self._sentence or 'a bug in this program'}"
        if self.end:
            say(self.end)
            return
        delays_s = {2: BAD_INPUT_DELAY_S, 4: DISK_DELAY_S}
        delay_s = self._delay.begin(delays_s.get(code) if joined else None)
        how = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
        say(f"the driver ended ({how}): it is started again in {delay_s:.0f} s")

    def _ledger_size(self) -> int:
        try:
            return (self.run / "metrics.jsonl").stat().st_size
        except OSError:
            return 0


def say(text: str) -> None:
    """One line in the container's log."""
    with contextlib.suppress(OSError):
        print(f"supervisor: {text}", flush=True)
