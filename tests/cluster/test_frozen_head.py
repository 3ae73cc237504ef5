"""A cluster whose head stands still, on real clusters: no call into Ray may hold the driver.

SIGSTOP to Ray's control service, or to the raylet that the driver talks to; for good, or for a while.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import ROOT, Command, command, running

from workload.local_cluster import LocalCluster

TIMEOUT_S = 30
SMALL = ("--preset=reinforce", "--batch-size=2", "--hidden-units=8", "--rollout-timeout-s=5")
PATHS = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
PARTS = ("gcs_server", "raylet")


class HeldCluster(NamedTuple):
    """A cluster that another process keeps, as Ray reads its environment once a process."""

    address: str
    head: dict[str, int]  # its processes by what they are
    environment: dict[str, str]  # what a driver needs to join


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[HeldCluster]:
    """One for all."""
    keeper, environment = [sys.executable, __file__], {**os.environ, "PYTHONPATH": PATHS}
    with subprocess.Popen(keeper, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        told = next(line for line in iter(process.stdout.readline, "") if line.startswith("{"))
        try:
            yield HeldCluster(**json.loads(told))
        finally:
            process.stdin.close()  # it ends the cluster, and itself
            process.wait(120.0)


def keep_a_cluster() -> None:
    """Start a cluster, tell where it is, and end it once standard input ends."""
    with LocalCluster(2) as cluster:
        head = {part: cluster.head_process(part) for part in PARTS}
        environment = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
        print(json.dumps({"address": cluster.address, "head": head, "environment": environment}), flush=True)
        sys.stdin.read()


@pytest.fixture
def cluster(whole_cluster: HeldCluster) -> Iterator[HeldCluster]:
    """Thawed again after each test."""
    yield whole_cluster
    for process in whole_cluster.head.values():
        os.kill(process, signal.SIGCONT)


def driver_on(cluster: HeldCluster, run: Path) -> AbstractContextManager[Command]:
    flags = (f"--address={cluster.address}", f"--run-dir={run}", f"--cluster-timeout-s={TIMEOUT_S}")
    return running(*SMALL, *flags, **cluster.environment)


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_head_that_is_thawed_in_time_is_ridden_out(cluster, tmp_path, part):
    with driver_on(cluster, tmp_path / "run") as driver:
        driver.wait_for_update(2)
        os.kill(cluster.head[part], signal.SIGSTOP)
        time.sleep(10.0)  # the fault itself
        os.kill(cluster.head[part], signal.SIGCONT)
        updates = driver.out.count("update ")
        driver.wait_for(lambda: driver.out.count("update ") >= updates + 3, "three more updates")
        driver.send(signal.SIGTERM)
        assert driver.wait() == 143, driver.err


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_head_that_is_frozen_for_good_ends_the_run_with_the_way_on(cluster, tmp_path, part):
    with driver_on(cluster, tmp_path / "run") as driver:
        driver.wait_for_update(2)
        os.kill(cluster.head[part], signal.SIGSTOP)
        frozen_at = time.monotonic()
        code = driver.wait()
        assert code == 3, driver.err
        assert time.monotonic() - frozen_at < TIMEOUT_S + 60.0
        assert "Go on with: python driver.py --resume" in driver.err
        assert "Traceback" not in driver.err + driver.out


@pytest.mark.slow
def test_what_was_fetched_is_let_go_of_while_another_call_hangs(cluster):
    """As the driver does with half a batch when it gives the cluster up."""
    words = [sys.executable, str(Path(__file__).with_name("held_value.py"))]
    words += [cluster.address, str(cluster.head["raylet"])]
    with command(words, PYTHONPATH=PATHS, **cluster.environment) as held:
        assert held.wait(60.0) == 0, held.err


if __name__ == "__main__":
    keep_a_cluster()
