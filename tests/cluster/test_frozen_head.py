"""A cluster whose head stands still, on real clusters: no call into Ray may hold the driver.

SIGSTOP to Ray's control service, or to the raylet that the driver talks to; for good, or for a while.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from commands import Command, running

from workload.local_cluster import LocalCluster

TIMEOUT_S = 30
SMALL = ("--preset=reinforce", "--batch-size=2", "--hidden-units=8", "--rollout-timeout-s=5")


@pytest.fixture(scope="module")
def whole_cluster() -> Iterator[LocalCluster]:
    """One for all: a process keeps the token of the first that it starts."""
    with LocalCluster(2) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole_cluster: LocalCluster) -> Iterator[LocalCluster]:
    """Thawed again after each test."""
    yield whole_cluster
    for part in ("gcs_server", "raylet"):
        os.kill(whole_cluster.head_process(part), signal.SIGCONT)


def driver_on(cluster: LocalCluster, run: Path) -> AbstractContextManager[Command]:
    environment = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    flags = (f"--address={cluster.address}", f"--run-dir={run}", f"--cluster-timeout-s={TIMEOUT_S}")
    return running(*SMALL, *flags, **environment)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["gcs_server", "raylet"])
def test_a_head_that_is_thawed_in_time_is_ridden_out(cluster, tmp_path, part):
    with driver_on(cluster, tmp_path / "run") as driver:
        driver.wait_for_update(2)
        os.kill(cluster.head_process(part), signal.SIGSTOP)
        time.sleep(10.0)  # the fault itself
        os.kill(cluster.head_process(part), signal.SIGCONT)
        updates = driver.out.count("update ")
        driver.wait_for(lambda: driver.out.count("update ") >= updates + 3, "three more updates")
        driver.send(signal.SIGTERM)
        assert driver.wait() == 143, driver.err


@pytest.mark.slow
@pytest.mark.parametrize("part", ["gcs_server", "raylet"])
def test_a_head_that_is_frozen_for_good_ends_the_run_with_the_way_on(cluster, tmp_path, part):
    with driver_on(cluster, tmp_path / "run") as driver:
        driver.wait_for_update(2)
        os.kill(cluster.head_process(part), signal.SIGSTOP)
        frozen_at = time.monotonic()
        code = driver.wait()
        assert code == 3, driver.err
        assert time.monotonic() - frozen_at < TIMEOUT_S + 60.0
        assert "Go on with: python driver.py --resume" in driver.err
        assert "Traceback" not in driver.err + driver.out
