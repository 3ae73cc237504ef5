"""A Ray cluster of several nodes on this machine, to break: real raylets, real workers, real processes. Linux only.

    with LocalCluster(nodes=2) as cluster:
        subprocess.run(["python", "driver.py", f"--address={cluster.address}"])
        cluster.kill_node(0, spares_workers=False)
        cluster.add_node()

A head without CPUs, to which a driver attaches, and nodes of one CPU each. Everything started here, by Ray or by a
driver, carries a mark in its environment, by which it is found and killed at the end, frozen or orphaned or not; the
kernel kills raylets if this process dies. Ray listens on loopback, asks for a token, and keeps its files in a folder
of its own.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from bitexact.cli.exits import ClusterLost, Ended
from bitexact.cli.interrupts import handlers_kept

_MARK = "RAY_PONG_LOCAL_CLUSTER"
_START_TIMEOUT_S = 120  # of a node; Ray's own 30 are too few for a machine that is busy
_SILENT_HEAD_S = 300  # before Ray's processes end by themselves; its own 60 are as long as a driver takes to give up
_END_TIMEOUT_S = 10.0
_METHODS = (b"run", b"run_and_keep")
_PLAYING = tuple(b"ray::PongEnv." + method for method in _METHODS)  # an actor's title while it plays
_FROZEN_S = 40.0  # of a node: the head takes it for dead after 15 s, or some more on a busy machine
_LOOKS_AT_NONE = 3  # before all are believed to be gone: a process that is just starting has no environment to be read
_STORE_BYTES = 100 << 20


class LocalCluster:
    """The head and the nodes. Ranks count from the oldest node or actor that is alive."""

    def __init__(self, nodes: int, store_bytes: int = _STORE_BYTES) -> None:
        self._store_bytes = store_bytes  # of each node
        self._mark = secrets.token_hex(8)
        self._folder = Path(tempfile.mkdtemp(prefix="ray-pong-", dir="/tmp"))  # a socket's path is 107 bytes at most
        os.environ.update(
            {
                _MARK: self._mark,
                "RAY_TMPDIR": str(self._folder),
                "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's switch for listening on loopback only
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_raylet_start_wait_time_s": str(_START_TIMEOUT_S),
                "RAY_gcs_rpc_server_reconnect_timeout_s": str(_SILENT_HEAD_S),
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": secrets.token_hex(32),
            }
        )
        self._nodes: list[Any] = []
        self._frozen: list[tuple[float, Any]] = []  # nodes frozen for good, and when they are to be buried
        self.head_is_frozen = False
        self._added = 0
        try:
            self._start(nodes)
        except BaseException:
            self.close()
            raise

    def _start(self, nodes: int) -> None:
        from ray.cluster_utils import Cluster  # only now: it reads the environment when it is imported

        try:
            self._cluster = Cluster()
            self._start_node(num_cpus=0, include_dashboard=False)
            for _ in range(nodes):
                self.add_node()
        except Ended:
            raise
        except Exception as error:  # Ray's errors here have no common kind
            raise ClusterLost(f"the local cluster could not be started ({type(error).__name__}: {error}).") from error

    @property
    def address(self) -> str:
        """Where a driver joins."""
        return str(self._cluster.address)

    def head_process(self, part: str) -> int:
        """One of the head's own processes: "gcs_server" or "raylet"."""
        head: Any = self._cluster.head_node
        return int(head.all_processes[part][0].process.pid)

    @property
    def control_service(self) -> int:
        """The head's process that knows the nodes and actors, Ray's GCS."""
        return self.head_process("gcs_server")

    def freeze_head(self) -> int:
        """Stop the head's control service, until it is thawed. Returns its process."""
        self.head_is_frozen = send(self.control_service, signal.SIGSTOP)
        return self.control_service

    def thaw_head(self) -> bool:
        """Mend that. Says whether there was anything to mend."""
        was_frozen, self.head_is_frozen = self.head_is_frozen, False
        return was_frozen and send(self.control_service, signal.SIGCONT)

    @property
    def node_count(self) -> int:
        """How many nodes with a CPU there are."""
        return len(self._nodes)

    @property
    def raylets(self) -> list[int]:
        """Their processes: the head's, then those of the nodes with a CPU."""
        return [_raylet(node) for node in (self._cluster.head_node, *self._nodes)]

    def replace_dead_nodes(self) -> list[int]:
        """Start a node for each that has ended by itself, as Ray's do once the head takes them for dead.

        Returns their raylets' processes. Raises ClusterLost if the head has ended.
        """
        if self.head_is_frozen:  # nobody would take a new one in
            return []
        self._bury_frozen_nodes()
        head = self._cluster.head_node
        if _has_ended(head, "gcs_server") or _has_ended(head, "raylet"):
            raise ClusterLost("the head of the local cluster has ended by itself.")
        dead = [node for node in self._nodes if _has_ended(node, "raylet")]
        for node in dead:
            self.kill_node(self._nodes.index(node), spares_workers=False)
            self.add_node()
        return [_raylet(node) for node in dead]

    def add_node(self, failing_percent: tuple[int, int, int] | None = None) -> int:
        """Start a node, and return its raylet's process.

        It has a folder of its own, as on another machine. Nodes that share one unpack the driver's code to the same
        place, and a new one takes it from under running actors.
        """
        self._added += 1
        folder = str(self._folder / f"node-{self._added}")
        os.environ.update(failing_rpcs(failing_percent))
        try:
            node = self._start_node(num_cpus=1, temp_dir=folder)
        finally:
            for name in failing_rpcs(failing_percent):
                del os.environ[name]
        self._nodes.append(node)
        return _raylet(node)

    def _start_node(self, **parameters: Any) -> Any:
        with handlers_kept():  # Ray's would drain the node for half a minute, and end this process without a word
            return self._cluster.add_node(wait=False, object_store_memory=self._store_bytes, **parameters)

    def kill_node(self, rank: int, spares_workers: bool) -> int:
        """Kill a node's raylet, and its workers too, unless they are to notice it. Returns the raylet's process."""
        return self._end_node(self._nodes.pop(rank % len(self._nodes)), spares_workers)

    def freeze_node(self, rank: int) -> int:
        """Stop a node's raylet for good: it is one node less, though nothing of it has ended. Returns its process."""
        node = self._nodes.pop(rank % len(self._nodes))
        send(_raylet(node), signal.SIGSTOP)
        self._frozen.append((time.monotonic() + _FROZEN_S, node))
        return _raylet(node)

    def _bury_frozen_nodes(self) -> None:
        """Long after the head has given them up: else they would fill this machine."""
        due = [node for due_at, node in self._frozen if due_at <= time.monotonic()]
        self._frozen = [(due_at, node) for due_at, node in self._frozen if node not in due]
        for node in due:
            self._end_node(node, spares_workers=False)

    def _end_node(self, node: Any, spares_workers: bool) -> int:
        raylet = _raylet(node)
        children = [process for process in self._processes() if _parent(process) == raylet]
        self._cluster.remove_node(node, allow_graceful=False)
        for process in children:
            if not spares_workers or _is_stopped(process):  # the frozen never notice
                send(process, signal.SIGKILL)
        return raylet

    def actors(self, playing: bool = False) -> list[int]:
        """The processes of the actors that are alive and not frozen, or only of those that play just now, by age."""
        titles = _PLAYING if playing else (b"ray::PongEnv",)
        found = [one for one in self._processes() if _command(one).startswith(titles) and not _is_stopped(one)]
        return sorted(found, key=_started)

    def close(self) -> None:
        """Kill everything that was started here, and delete Ray's files."""
        deadline, seen_none = time.monotonic() + _END_TIMEOUT_S, 0
        while seen_none < _LOOKS_AT_NONE and time.monotonic() < deadline:
            processes = self._processes()
            for process in [*processes, *_descendants(processes)]:
                send(process, signal.SIGKILL)  # a stopped process dies of it too
            seen_none = 0 if processes else seen_none + 1
            time.sleep(0.1)
        shutil.rmtree(self._folder, ignore_errors=True)
        os.environ.pop(_MARK, None)

    def __enter__(self) -> "LocalCluster":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _processes(self) -> list[int]:
        """What carries this cluster's mark and is not dead. This process does not: it was set after its start."""
        mark = f"{_MARK}={self._mark}".encode()
        numbers = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [number for number in numbers if mark in _read(number, "environ")]


def _descendants(processes: list[int]) -> list[int]:
    """All that they started: Ray's agents write their titles over their environment, and the mark with it."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child.pid for child in psutil.Process(process).children(recursive=True)]
    return found


def failing_rpcs(percent: tuple[int, int, int] | None) -> dict[str, str]:
    """The environment in which a process of Ray fails so many of all its RPCs, drawn by a generator of its own."""
    if percent is None:
        return {}
    names = ("req_failure_prob", "resp_failure_prob", "in_flight_failure_prob")
    unlimited = -1
    every_method = {"num_failures": unlimited, **dict(zip(names, percent, strict=True))}
    return {"RAY_testing_rpc_failure": json.dumps({"*": every_method})}


def send(process: int, number: int) -> bool:
    """Send a signal. Says whether there was such a process."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return False
    return True


def _has_ended(node: Any, part: str) -> bool:
    return node.all_processes[part][0].process.poll() is not None


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _read(process: int, name: str) -> bytes:
    """A file of /proc; empty for a process that is gone, a zombie, or another user's."""
    try:
        return Path(f"/proc/{process}/{name}").read_bytes()
    except OSError:
        return b""


def _command(process: int) -> bytes:
    return _read(process, "cmdline")


def _stat(process: int) -> list[bytes]:
    """The fields of /proc/PROCESS/stat from the third, the state, on: the second may hold anything."""
    return _read(process, "stat").rpartition(b")")[2].split()


def _is_stopped(process: int) -> bool:
    return _stat(process)[:1] == [b"T"]


def _parent(process: int) -> int:
    fields = _stat(process)
    return int(fields[1]) if fields else 0


def _started(process: int) -> tuple[int, int]:
    fields = _stat(process)
    return (int(fields[19]) if fields else 0, process)
