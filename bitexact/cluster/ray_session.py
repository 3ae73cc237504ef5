"""A session with Ray: started inside this program or joined at an address, how the code gets there, and its end.

    with connect(address=None, actors=2) as place:
        ...

Without an address, Ray starts inside this program: on loopback only, without usage statistics or dashboard. With one,
this program joins that cluster, and its code travels there as Ray's `working_dir`, less what `_SHIPPED_WITHOUT` names;
under `ray job submit` the job's own working directory stands. RAY_PONG_CODE_ON_NODES=1 says that each node has the code
in its Python path already: nothing travels then, and the actors import the node's own files. The container image sets
it, because those are the files that the platform has instrumented.
"""

import contextlib
import functools
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import exceptions as errors
from ray._private import services
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bitexact.cli import exits, process_environment
from bitexact.cli.exits import BadInput, ClusterLost
from bitexact.cli.interrupts import handlers_kept
from bitexact.cluster.beside import Beside, NoAnswer
from bitexact.storage import durable

_ROOT = Path(__file__).parents[2]
_CONNECT_TIMEOUT_S = 5.0
_STATUS_TIMEOUT_S = 20.0
_JOIN_TIMEOUT_S = 90.0  # the code is sent meanwhile
_END_TIMEOUT_S = 15.0
_OBJECT_STORE_BYTES = 1 << 30  # a result is 5 MB and leaves at once; Ray spills beyond
_CODE_ON_NODES = "RAY_PONG_CODE_ON_NODES"
_SHIPPED_WITHOUT = [".git", ".venv", ".ci", "runs", "tests", "docs", "benchmarks", "pretrained", "__pycache__"]


@contextmanager
def connect(address: str | None, actors: int | None) -> Iterator[str]:
    """Ray, started here or joined at an address, until the block ends. Yields where it runs, in words.

    Raises BadInput where Ray cannot start, and for an address that cannot be joined, which `expect_an_answer` finds out
    before, within bounds; ClusterLost for a cluster that stands still meanwhile.
    """
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "configure_logging": True, "log_to_driver": False}
    try:
        # Ray's workers look for modules where this process stands before they look anywhere else.
        with handlers_kept(), _processes_apart(), contextlib.chdir(_ROOT):
            if address:
                join = functools.partial(ray.init, address=address, runtime_env=_runtime_environment(), **quiet)
                Beside("Ray's start").call(join, limit_s=_JOIN_TIMEOUT_S)
            else:
                ray.init(
                    address="local",
                    num_cpus=max(actors or 1, len(os.sched_getaffinity(0))),
                    include_dashboard=False,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    **quiet,
                )
    except exits.Ended:
        raise
    except NoAnswer:
        exits.leave_what_hangs()
        raise ClusterLost(
            f"the cluster at {address} could not be joined within {_JOIN_TIMEOUT_S:g} s: the cluster is lost."
        ) from None
    except Exception as error:  # of whatever kind: it is Ray's, of what it found
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise _cannot_be_joined(address, first_line) if address else _cannot_start(first_line) from None
    try:
        yield f"the cluster at {address}" if address else "this machine"
    finally:
        _end()


def _end() -> None:
    """Leave Ray; at once if it does not let go, as with a frozen head."""
    try:
        Beside("Ray's end").call(ray.shutdown, limit_s=_END_TIMEOUT_S)
    except NoAnswer:
        exits.leave_what_hangs()


@contextmanager
def _processes_apart() -> Iterator[None]:
    """What Ray starts gets process groups of its own: a signal to the driver's group, as `timeout` sends it, ends none.

    Without them, while it starts, Ray's C++ part would wait for half a minute, and let no other thread run.
    """
    name, start = "ConsolePopen", services.ConsolePopen
    setattr(services, name, functools.partial(start, process_group=0))
    try:
        yield
    finally:
        setattr(services, name, start)


@ray.remote(num_cpus=0, max_retries=0)
def _read_files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.jsonl")}


def collect_property_files(folder: Path, timeout_s: float) -> list[str]:
    """Copy what other nodes have in a folder of the same name into this node's; returns what could not be brought."""
    try:
        return Beside("property files").call(_collect, folder, timeout_s, limit_s=2.0 * timeout_s)
    except NoAnswer as silence:
        return [str(silence)]


def _collect(folder: Path, timeout_s: float) -> list[str]:
    here = ray.get_runtime_context().get_node_id()
    others = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"]}
    others.pop(here, None)
    reads = {
        _read_files.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            str(folder)
        ): name
        for node, name in others.items()
    }
    ready, late = ray.wait(list(reads), num_returns=len(reads), timeout=timeout_s) if reads else ([], [])
    missing = [f"{reads[read]} did not answer within {timeout_s:g} s" for read in late]
    for read in ready:
        try:
            for name, data in ray.get(read, timeout=timeout_s).items():
                path = folder / name
                if not path.exists() or path.stat().st_size < len(data):
                    durable.write_atomically(path, data)
        except errors.RayError as error:
            missing.append(f"{reads[read]} failed ({type(error).__name__})")
    return missing


def expect_an_answer(address: str) -> None:
    """Raise BadInput unless a Ray cluster answers at an address: Ray itself tries for minutes, complaining all along.

    A TCP connection tells the common mistakes apart at once; `ray status`, in a process that can be given up, the rest.
    """
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S).close()
        except (OSError, OverflowError, ValueError) as error:
            raise BadInput(
                f"nothing answers at {address} ({error}): is the cluster's head up, and its port right?"
            ) from None
    status = [sys.executable, "-m", "ray.scripts.scripts", "status", "--address", address]
    try:
        asked = subprocess.run(status, capture_output=True, text=True, timeout=_STATUS_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise _cannot_be_joined(address, f"no Ray cluster's head answered within {_STATUS_TIMEOUT_S:g} s") from None
    if asked.returncode != 0:
        last_line = (asked.stderr.strip().splitlines() or ["ray status failed"])[-1]
        raise _cannot_be_joined(address, last_line.split("Error: ")[-1])


def _cannot_be_joined(address: str, reason: str) -> BadInput:
    if "InvalidAuthToken" in reason:
        return BadInput(
            f"the cluster at {address} asks for a token: set RAY_AUTH_MODE=token, and copy its ~/.ray/auth_token here."
        )
    sentence = reason.split(". ")[0].rstrip(".")
    return BadInput(f"no Ray cluster can be joined at {address} ({sentence}): is its head up, and its port right?")


def _cannot_start(reason: str) -> BadInput:
    logs = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "session_latest" / "logs"
    return BadInput(f"Ray cannot start on this machine ({reason.rstrip('.')}): what its processes say is in {logs}.")


def _runtime_environment() -> dict[str, Any]:
    """How the code and what it must know reach the cluster's nodes."""
    runtime: dict[str, Any] = {"env_vars": process_environment.for_remote_actors()}
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ and os.environ.get(_CODE_ON_NODES) != "1":
        runtime |= {"working_dir": str(_ROOT), "excludes": _SHIPPED_WITHOUT}
    return runtime
