"""The ways of docs/cluster.md as they stand there, with a head and a worker on this machine; containers have their own.

Ports, folders and counts of updates are put into the page's lines, and nothing else.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import (
    ROOT,
    Command,
    assert_one_sentence,
    closed_port,
    commands_of,
    digests_without_ray,
    recorded_digests,
    typed,
)
from ray.util import get_node_ip_address

PAGE = ROOT / "docs" / "cluster.md"
UPDATES = 3
WITH_TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "of-this-test-alone"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Cluster(NamedTuple):
    """A head without CPUs and a worker with two."""

    address: str
    dashboard: str

    def line(self, beginning: str) -> str:
        """The page's line that begins so, with this cluster's addresses."""
        return page_line(beginning).replace("HEAD:6379", self.address).replace("127.0.0.1:8265", self.dashboard)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    port, dashboard_port = closed_port(), closed_port()
    cluster = Cluster(f"{get_node_ip_address()}:{port}", f"127.0.0.1:{dashboard_port}")
    head = page_line("ray start --head").replace("=6379", f"={port} --dashboard-port={dashboard_port}")
    worker = cluster.line("ray start --address").replace("--num-cpus=8", "--num-cpus=2")
    with node(head), node(worker):
        yield cluster


@contextmanager
def node(line: str) -> Iterator[Command]:
    """A node of the cluster, up until the block ends; what nodes of one machine must not share is its own."""
    own = f"--dashboard-agent-listen-port={closed_port()} --temp-dir=$RAY_TMPDIR"
    with typed_with_token(f"{line} {own} --block") as started:
        started.wait_for(lambda: "Ray runtime started" in started.out, "a node")
        yield started


def page_line(beginning: str) -> str:
    """The line of the page's commands that begins so."""
    (line,) = [line for line in commands_of(PAGE) if line.startswith(beginning)]
    return line


def typed_with_token(line: str, folder: Path = ROOT, **environment: str) -> AbstractContextManager[Command]:
    """A line, as typed by who has the token."""
    return typed(line, folder, **{**WITH_TOKEN, **environment})


def test_a_driver_joins_and_finds_the_workers_cpus(cluster: Cluster, tmp_path: Path) -> None:
    line = cluster.line("python driver.py --address").replace("/shared/pong", str(tmp_path / "run"))
    with typed_with_token(f"{line} --updates={UPDATES}") as driver:
        assert driver.wait() == 0, driver.err
        assert re.search(r"2 actors on \S+ \(2 CPUs\)", driver.out)
    assert recorded_digests(tmp_path / "run") == digests_without_ray(UPDATES)


def test_a_driver_without_the_token_is_told_what_it_needs(cluster: Cluster, tmp_path: Path) -> None:
    line = cluster.line("python driver.py --address").replace("/shared/pong", str(tmp_path / "run"))
    with typed_with_token(line, RAY_AUTH_MODE="disabled") as driver:
        driver.wait()
        assert_one_sentence(driver.process.returncode, driver.err, cluster.address, "RAY_AUTH_MODE=token", "auth_token")
    assert not (tmp_path / "run").exists()


def test_a_job_is_stopped_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    run = tmp_path / "run"
    line = cluster.line("ray job submit").replace("/shared/pong", str(run))
    with typed_with_token(line) as job:
        job.wait_for_update(1)
        (name,) = set(re.findall(r"raysubmit_\w+", job.out))
        with typed_with_token(f"ray job stop --address=http://{cluster.dashboard} {name}") as stop:
            assert stop.wait() == 0, stop.err
        job.wait()
    committed = len(recorded_digests(run))
    with typed_with_token(f"{line} --resume --updates={committed + 1}") as job:
        assert job.wait() == 0, job.err
    assert recorded_digests(run) == digests_without_ray(committed + 1)


def test_a_job_leaves_behind_what_git_ignores(cluster: Cluster, tmp_path: Path) -> None:
    for name in ("kept.py", "runs/pong/metrics.jsonl", ".venv/bin/python"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    shutil.copy(ROOT / ".gitignore", tmp_path)
    line, _ = cluster.line("ray job submit").split(" -- ")
    with typed_with_token(f"{line} -- ls -A", tmp_path) as job:
        assert job.wait() == 0, job.err
        assert {"kept.py", ".venv", "runs"} & set(job.out.split()) == {"kept.py"}
