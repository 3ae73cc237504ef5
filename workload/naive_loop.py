"""What faults make of the naive loop, and of the mended one: real processes and signals, and a table of what happened.

    python -m workload.naive_loop                             every fault, some eight minutes on two cores that are free
    python -m workload.naive_loop --only actor-frozen         one of them

The loops are `examples/naive_pong.py` and `examples/mended_pong.py`; docs/naive-loop.md explains the table. Exit codes:
as those of driver.py.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from bitexact.cli import command_line, exits

_ROOT = Path(__file__).parents[1]
_BATCH, _UPDATES = 4, 3
_WATCHED_S = 60.0  # a loop that shows nothing for so long stands still: an update takes some seconds
_LIMIT_S = 300.0
_LINE = re.compile(r"^update (\d+) .*digest ([0-9a-f]+)$", re.MULTILINE)
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1"}  # that two runs differ is then due to nothing but what the loop does
_OTHER_PROCESSOR = {"OPENBLAS_CORETYPE": "Nehalem"}


class Program:
    """A loop that was started, and what it has shown."""

    def __init__(self, words: Sequence[str], folder: Path, changes: dict[str, str]) -> None:
        self._output = Path(tempfile.mkstemp(dir=folder, suffix=".log")[1])
        with self._output.open("wb") as output:
            environment = {**os.environ, **_ONE_THREAD, "RAY_TMPDIR": str(folder), **changes}
            self.process = psutil.Popen(words, cwd=_ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def updates(self) -> list[tuple[int, str]]:
        """Each update's number and digest, as shown."""
        return [(int(number), digest) for number, digest in _LINE.findall(self._output.read_text())]

    def last_words(self) -> str:
        """The last line that it printed."""
        return (self._output.read_text().strip().splitlines() or [""])[-1]

    def wait(self, holds: Callable[[], bool], limit_s: float) -> bool:
        """Wait until something holds or it has ended. Says whether that was before the limit."""
        end = time.monotonic() + limit_s
        while not holds() and self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def wait_for_updates(self, count: int, limit_s: float = _LIMIT_S) -> bool:
        """Wait until it has shown so many."""
        return self.wait(lambda: len(self.updates()) >= count, limit_s)

    def actor(self) -> psutil.Process:
        """The process of one of its actors."""
        titled = [one for one in self.process.children(recursive=True) if one.cmdline()[0].startswith("ray::Player")]
        return min(titled, key=lambda one: one.pid)

    def end(self) -> None:
        """Kill it and all that it started."""
        with contextlib.suppress(psutil.NoSuchProcess):
            started = [*self.process.children(recursive=True), self.process]
            for one in started:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(started, timeout=_WATCHED_S)


@dataclass(frozen=True)
class Loop:
    """One of the two loops, in a folder of its own."""

    module: str
    keeps_a_run: bool
    folder: Path

    @contextmanager
    def started(self, name: str, **changes: str) -> Iterator[Program]:
        """It trains; the same name goes on where that stopped, if it can."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        words = [sys.executable, "-m", self.module, f"--updates={_UPDATES}"]
        words += [str(self.folder / name)] if self.keeps_a_run else [f"--batch-size={_BATCH}"]
        program = Program(words, folder, changes)
        try:
            yield program
        finally:
            program.end()

    def finished(self, name: str, **changes: str) -> list[tuple[int, str]]:
        """What it shows if nothing happens to it."""
        with self.started(name, **changes) as program:
            program.wait_for_updates(_UPDATES)
            return program.updates()


# ---- the faults -------------------------------------------------------------------------------------------------


def run_twice(loop: Loop) -> str:
    """The same seed, the same machine."""
    return _compared(loop.finished("once"), loop.finished("again"))


def another_processor(loop: Loop) -> str:
    """The same seed; BLAS computes as on an older processor."""
    return _compared(loop.finished("once"), loop.finished("elsewhere", **_OTHER_PROCESSOR))


def actor_killed(loop: Loop) -> str:
    """SIGKILL to an actor, as the kernel does when memory runs out."""
    return _disturbed(loop, signal.SIGKILL)


def actor_frozen(loop: Loop) -> str:
    """SIGSTOP to an actor: its node hangs."""
    return _disturbed(loop, signal.SIGSTOP)


def driver_killed(loop: Loop) -> str:
    """SIGKILL to the loop itself; then the same command once more."""
    with loop.started("killed") as program:
        program.wait_for_updates(_UPDATES - 1)
        before = program.updates()
    with loop.started("killed") as program:
        program.wait_for_updates(1)
        number, _ = program.updates()[0]
        program.wait_for_updates(_UPDATES + 1 - number)
        after = program.updates()
    if number == 1:
        return f"begins anew: {_updates(len(before))} lost"
    found = _compared(loop.finished("once"), before[: number - 1] + after)
    return f"goes on with update {number}, {found}"


def _disturbed(loop: Loop, number: int) -> str:
    with loop.started("disturbed") as program:
        program.wait_for_updates(1)
        began, shown = time.monotonic(), len(program.updates())
        program.actor().send_signal(number)
        if not program.wait_for_updates(shown + 1, _WATCHED_S):
            return f"stands still: nothing for {_WATCHED_S:g} s, and no word of it"
        took_s = time.monotonic() - began
        if len(program.updates()) == shown:
            return f"ends after {took_s:.0f} s, `{program.last_words()[:60]}`: {_updates(shown)} lost"
        program.wait_for_updates(_UPDATES)
        found = program.updates()
    return f"goes on: the next update after {took_s:.0f} s, {_compared(loop.finished('once'), found)}"


def _updates(count: int) -> str:
    return f"{count} update{'' if count == 1 else 's'}"


def _compared(one: list[tuple[int, str]], other: list[tuple[int, str]]) -> str:
    if len(one) != len(other):
        return f"{len(one)} and {_updates(len(other))}"
    differ = [number for (number, digest), (_, found) in zip(one, other, strict=True) if digest != found]
    return f"other bits from update {differ[0]} on" if differ else "equal bits"


FAULTS: dict[str, Callable[[Loop], str]] = {
    "run-twice": run_twice,
    "another-processor": another_processor,
    "actor-killed": actor_killed,
    "actor-frozen": actor_frozen,
    "driver-killed": driver_killed,
}


@dataclass(frozen=True)
class Arguments:
    """Put the naive loop and the mended one under faults, and print the table."""

    only: tuple[Literal["run-twice", "another-processor", "actor-killed", "actor-frozen", "driver-killed"], ...] = ()
    """These faults; all by default."""


def main(arguments: Sequence[str]) -> None:
    """Print a row as soon as it is known."""
    chosen = command_line.parse(Arguments, arguments, "python -m workload.naive_loop")
    print("| fault | the naive loop | mended |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        for name in chosen.only or FAULTS:
            cells = [name.replace("-", " ")]
            for module, keeps in (("examples.naive_pong", False), ("examples.mended_pong", True)):
                own = Path(tempfile.mkdtemp(dir=folder))
                cells.append(FAULTS[name](Loop(module, keeps, own)))
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    exits.run(main)
