"""The project's programs as a user runs them: processes of their own, bounded in time, with nothing left of them.

    done = finished("--updates=2", f"--run-dir={directory}")
    with running(f"--run-dir={directory}") as driver:
        driver.wait_for_update(2)
        driver.send(signal.SIGTERM)
        assert driver.wait() == 143

What a run must give is computed without them, by `digests_without_ray`.

Each command carries a mark in its environment, which all that it starts inherits: so whatever belongs to it is found
and, at the end, killed, however it got away from its parent.
"""

import functools
import ipaddress
import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from training import initial_state
from training.settings import Settings
from training.update import compute_update
from workload.driver_command import committed

ROOT = Path(__file__).resolve().parent.parent
DRIVER = ROOT / "driver.py"
# With this seed the first games win points.
GOLDEN_SETTINGS = {"preset": "reinforce", "learning_rate": 1e-3, "hidden_units": 200, "batch_size": 3, "seed": 3}
# All that decides, so that another default changes no golden digest.
PPO_SETTINGS = {"preset": "ppo", "batch_size": 3, "seed": 3, "hidden_units": 64, "discount": 0.99}
PPO_SETTINGS |= {"learning_rate": 2e-3, "learning_rate_end": 2e-4, "anneal_updates": 250, "epochs": 3}
PPO_SETTINGS |= {"entropy_coef": 0.02, "entropy_coef_end": 0.001, "temperature_end": 0.5, "minibatch_size": 512}
PPO_SETTINGS |= {"clip": 0.2, "gae_lambda": 0.95, "value_coef": 0.5, "max_grad_norm": 0.5, "sticky_actions": 0.25}
LIMIT_S = 120.0  # for any one thing that a test waits for
_MARK = "RAY_PONG_TESTED_AS"
_POLL_S = 0.02


class Digests(NamedTuple):
    """What the ledger must say of an update."""

    weights: str
    rollouts: list[str]


def digests_without_ray(updates: int, **settings: Any) -> list[Digests]:
    """The digests of a run's first updates: one process, one game after the other, no driver, pool or Ray."""
    known, further = _computed(**settings)
    known += itertools.islice(further, max(0, updates - len(known)))
    return known[:updates]


@functools.cache
def _computed(**settings: Any) -> tuple[list[Digests], Iterator[Digests]]:
    """The digests of a run as far as somebody has asked for them, and those that come next: none is computed twice."""
    return [], _train(Settings(**settings))


def _train(settings: Settings) -> Iterator[Digests]:
    game, current = settings.game().make(), initial_state.from_seed(settings)
    while True:
        current, batch = compute_update(settings, current, game)
        yield Digests(current.digest(), [record.digest for record in batch.records])


def recorded_digests(run: Path) -> list[Digests]:
    """What a run's ledger says, line by line."""
    rollouts: dict[int, dict[int, str]] = {}
    for line in lines(run / "rollouts.jsonl"):
        assert line["index"] not in rollouts.setdefault(line["update"], {}), f"{line} is there twice"
        rollouts[line["update"]][line["index"]] = line["digest"]
    updates = lines(run / "metrics.jsonl")
    assert [line["update"] for line in updates] == list(range(1, len(updates) + 1))
    assert not rollouts.keys() - {line["update"] for line in updates} or max(rollouts) == len(updates) + 1
    of_update = {number: [digest for _, digest in sorted(found.items())] for number, found in rollouts.items()}
    return [Digests(line["weights_digest"], of_update[line["update"]]) for line in updates]


def until(holds: Callable[[], Any], what: str, limit_s: float = LIMIT_S) -> Any:
    """Wait until something holds, and return it. Fails after the limit."""
    end = time.monotonic() + limit_s
    while not (value := holds()):
        assert time.monotonic() < end, f"not within {limit_s:g} s: {what}"
        time.sleep(_POLL_S)
    return value


def patience(seconds: float) -> float:
    """A limit that is meant for a machine with a CPU to spare, on this one as busy as it is and just was."""
    last_minute, _, _, now, _ = Path("/proc/loadavg").read_text().split()  # psutil gives the averages alone
    busy = max(float(last_minute), float(now.split("/")[0]))
    return seconds * max(1.0, busy / len(os.sched_getaffinity(0)))


class Command:
    """A program that was started, and all processes that it started."""

    def __init__(self, command: list[str], environment: Mapping[str, str], directory: Path) -> None:
        self._mark = uuid.uuid4().hex
        self._files = {name: directory / f"{self._mark}.{name}" for name in ("stdout", "stderr")}
        with self._files["stdout"].open("wb") as out, self._files["stderr"].open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=directory,
                env={**environment, _MARK: self._mark},
                start_new_session=True,
            )

    @property
    def out(self) -> str:
        """Its standard output up to now."""
        return self._files["stdout"].read_text()

    @property
    def err(self) -> str:
        """Its standard error up to now."""
        return self._files["stderr"].read_text()

    def wait_for(self, holds: Callable[[], Any], what: str) -> Any:
        """Wait until something holds while the program runs."""

        def holds_or_has_ended() -> Any:
            value = holds()
            ended = not value and self.process.poll() is not None
            assert not ended, f"ended with {self.process.returncode} before {what}: {self.err}{self.out}"
            return value

        return until(holds_or_has_ended, what)

    def wait_for_update(self, update: int) -> None:
        """Wait until an update is told of as committed."""

        def told() -> bool:
            return any(found[0] == update for found in map(committed, self.out.splitlines()) if found)

        self.wait_for(told, f"update {update}")

    def wait_for_process(self, name: str) -> None:
        """Wait until a process of it runs whose command line holds a text."""
        self.wait_for(lambda: [line for line in self.processes().values() if name in line], name)

    def send(self, signal_number: int, to_group: bool = False) -> None:
        """Send a signal: to the program, or as a terminal does to all of its process group."""
        (os.killpg if to_group else os.kill)(self.process.pid, signal_number)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Wait for its end, and return its exit code. Of one that stands still, the failure shows where."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGABRT)  # with PYTHONFAULTHANDLER, the stack of each thread
            self.process.wait(LIMIT_S)
            raise AssertionError(f"no end within {limit_s:g} s: {self.out}{self.err}") from None

    def wait_for_the_last_process(self) -> None:
        """Wait until nothing of it is left. Ray's agents notice some seconds later that their raylet is gone."""
        until(lambda: not self.processes(), f"the end of {self.processes()}", patience(15.0))

    def processes(self) -> dict[int, str]:
        """The command lines of all that belongs to it and lives, by process number."""
        found = {}
        for process in self.environments():
            with suppress(psutil.Error):
                found[process] = " ".join(psutil.Process(process).cmdline()).strip()
        return found

    def environments(self) -> dict[int, dict[str, str]]:
        """The environments they were started with, by process number."""
        found = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):  # it may end while it is looked at, or be another user's
                variables = process.environ()
                if variables.get(_MARK) == self._mark:
                    found[process.pid] = variables
        return found

    def kill(self) -> None:
        """End it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(LIMIT_S)
        until(self._kill_what_is_left, "the end of its processes")

    def _kill_what_is_left(self) -> bool:
        left = self.processes()
        for process in left:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return not left


@contextmanager
def running(*arguments: str, program: Path | str = DRIVER, **environment: str) -> Iterator[Command]:
    """driver.py, or another file or module, with these arguments; nothing of it is left when the block ends."""
    is_module = isinstance(program, str)
    words, own = (["-m", program], {"PYTHONPATH": str(ROOT)}) if is_module else ([str(program)], {})
    with command([sys.executable, *words, *arguments], **own, **environment) as started:
        yield started


@contextmanager
def command(words: list[str], **environment: str) -> Iterator[Command]:
    """Any command, in an empty directory of its own and without what this process has set up for Ray or the SDK."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "ANTITHESIS_"))}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        # Ray's logs and sockets go with the folder, and nobody else's cluster is found.
        own = {"RAY_TMPDIR": directory, "PYTHONFAULTHANDLER": "1"}
        started = Command(words, {**inherited, **own, **environment}, Path(directory))
        try:
            yield started
        finally:
            started.kill()


def typed(line: str, folder: Path, **environment: str) -> AbstractContextManager[Command]:
    """A line, as a user types it in a folder, with this test's Python as theirs."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return command(["bash", "-c", f"cd {folder} && exec {line}"], PATH=path, **environment)


def commands_of(document: Path) -> list[str]:
    """The lines of a document's shell blocks, without comments."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL)
    found = [re.sub(r"(^|\s+)#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in found if line]


def finished(
    *arguments: str, program: Path | str = DRIVER, limit_s: float = LIMIT_S, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The same, run to its end."""
    with running(*arguments, program=program, **environment) as started:
        code = started.wait(limit_s)
        return subprocess.CompletedProcess(arguments, code, started.out, started.err)


def assert_one_sentence(code: int, err: str, *words: str) -> None:
    """Standard error says one thing, in one line, with these words in it; and the exit code is not 0."""
    assert code > 0
    assert err.startswith("driver.py: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    for word in words:
        assert word in err


def resume_command(err: str) -> list[str]:
    """The command that a sentence on standard error says to go on with, for this test's Python and folder."""
    words = shlex.split(err.split("Go on with: ")[1])
    assert words[:2] == ["python", "driver.py"]
    return [sys.executable, str(DRIVER), *words[2:]]


def contents(directory: Path) -> dict[str, bytes | None]:
    """Every file and folder below a directory, and what is in it; the lock says who looked last, and is left out."""
    below = sorted(path for path in directory.rglob("*") if path.name != "lock")
    return {str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None for path in below}


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON file of lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def listens_on(processes: Iterable[int]) -> set[tuple[str, int]]:
    """The addresses and ports on which processes listen for TCP connections, as the kernel has them."""
    found = set()
    for process in processes:
        with suppress(psutil.Error):  # a process may end while it is looked at
            for connection in psutil.Process(process).net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN:
                    address = ipaddress.ip_address(connection.laddr.ip)
                    found.add((str(getattr(address, "ipv4_mapped", None) or address), connection.laddr.port))
    return found


@contextmanager
def silent_port() -> Iterator[int]:
    """A port of this machine at which connections are accepted and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def closed_port() -> int:
    """A port at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
