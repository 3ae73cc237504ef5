"""A hundred drawn faults at one run, which ends in the digests of the run that had none.

WORKER_FAULTS=10 pytest -s tests/rllib_worker/test_worker_campaign.py     fewer; WORKER_SEED=2: others
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from worker_runs import LEAGUE, digests, disk_of_20_mb, fill, finished, lines, runner_of, small_config, started, write

FAULTS, SEED = int(os.environ.get("WORKER_FAULTS", "100")), int(os.environ.get("WORKER_SEED", "1"))
LIMIT_S = 280.0


class Struck:
    """A run and its newest process."""

    def __init__(self, path: Path, run: Path, stack: ExitStack) -> None:
        self.run, self.committed, self._stack, self._life = run, 0, stack, ExitStack()
        self.process = self._begin("--config", str(path))

    def _begin(self, *arguments: str) -> Command:
        self._life = self._stack.enter_context(ExitStack())
        return self._life.enter_context(started(*arguments))

    def resume(self) -> None:
        """All that is left of the process before is killed; another goes on."""
        assert "Traceback" not in self.process.err, self.process.err
        self._life.close()
        self.process = self._begin("--resume", str(self.run))

    def goes_on(self) -> None:
        """Wait until it has done an iteration more than it ever had."""
        ledger = self.run / "metrics.jsonl"
        self.process.wait_for(
            lambda: ledger.exists() and ledger.read_bytes().count(b"\n") > self.committed, "an iteration"
        )
        self.committed = ledger.read_bytes().count(b"\n")

    @property
    def newest(self) -> Path | None:
        """Its newest checkpoint."""
        return max((self.run / "checkpoints").glob("*.npz"), default=None)


def runner_killed(struck: Struck, number: int = signal.SIGKILL) -> None:
    before = struck.process.out.count("was lost")
    os.kill(runner_of(struck.process), number)
    struck.process.wait_for(lambda: struck.process.out.count("was lost") > before, "the loss")


def runner_frozen(struck: Struck) -> None:
    runner_killed(struck, signal.SIGSTOP)


def driver_killed(struck: Struck) -> None:
    struck.process.send(signal.SIGKILL)
    struck.process.wait(LIMIT_S)
    struck.resume()


def checkpoint_torn(struck: Struck) -> None:
    damaged(struck, lambda data: data[:-50])


def checkpoint_altered(struck: Struck) -> None:
    damaged(
        struck, lambda data: data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
    )


def damaged(struck: Struck, change: Callable[[bytes], bytes]) -> None:
    struck.process.send(signal.SIGKILL)
    struck.process.wait(LIMIT_S)
    newest = struck.newest
    assert newest is not None
    newest.write_bytes(change(newest.read_bytes()))
    struck.resume()
    struck.process.wait_for(lambda: str(newest) in struck.process.out, "what is said of it")


def disk_full(struck: Struck) -> None:
    ballast = struck.run.parent / "ballast"
    fill(ballast)
    assert struck.process.wait(LIMIT_S) == 4, struck.process.err
    ballast.unlink()
    struck.resume()


KINDS = (runner_killed, runner_frozen, driver_killed, checkpoint_torn, checkpoint_altered, disk_full)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with disk_of_20_mb(tmp_path) as disk:
        if disk is None:
            pytest.skip("mounting a file system is not permitted here")
        yield disk


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_a_hundred_drawn_faults_change_no_digest(disk: Path, tmp_path: Path) -> None:
    values: dict[str, Any] = {**small_config(), **LEAGUE, "run_id": "struck", "checkpoint": {"checkpoint_freq": 1}}
    values["training"]["total_timesteps"] = 10**9
    run, drawn = disk / "runs" / "struck", random.Random(SEED)
    happened: Counter[str] = Counter()
    with ExitStack() as stack:
        struck = Struck(write(disk, values), run, stack)
        for number in range(1, FAULTS + 1):
            struck.goes_on()
            kind = drawn.choice(KINDS)
            kind(struck)
            happened[kind.__name__] += 1
            print(f"fault {number}: {kind.__name__}, {struck.committed} iterations", flush=True)
        struck.goes_on()
        struck.process.send(signal.SIGTERM)
        assert struck.process.wait(LIMIT_S) == 143
    found = digests(run)
    values["training"]["total_timesteps"] = lines(run)[-1]["steps_total"]
    code, out, err = finished("--config", str(write(tmp_path, values)), limit_s=3600.0)
    assert code == 0, err + out
    assert found == digests(tmp_path / "runs" / "struck")
    print(f"{dict(happened)}; {len(found)} iterations, every digest equal")
