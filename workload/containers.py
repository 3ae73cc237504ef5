"""The compose cluster as seen from outside: up, down, its containers, and what can be done to one of them.

Everything goes through the `docker` command, as a user would do it by hand. Faults inside a container's network are set
from the host, in the container's network namespace, and need root there.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bitexact.cli.exits import BadInput

COMPOSE_FILE = Path(__file__).resolve().parent.parent / "docker-compose.yaml"
_TIMEOUT_S = 60.0
_BUILD_TIMEOUT_S = 900.0


class DockerFailed(Exception):
    """A docker command failed. The text is what it said."""


def docker(*arguments: str, timeout_s: float = _TIMEOUT_S) -> str:
    """Run a docker command and return what it prints. Raises DockerFailed."""
    return _output(["docker", *arguments], timeout_s)


def expect_engine() -> None:
    """Raise BadInput unless there is a Docker engine with Compose 2."""
    try:
        docker("info")
        docker("compose", "version")
    except (DockerFailed, FileNotFoundError):
        raise BadInput(
            "there is no Docker engine with Compose 2 here: start one, "
            "or inject faults into processes instead, with python -m workload.faults."
        ) from None


class ComposeCluster:
    """One project of the compose file, possibly with further files over it, and under another name."""

    def __init__(self, overrides: Sequence[Path] = (), name: str = "") -> None:
        self._files = [COMPOSE_FILE, *overrides]
        self._named = ["--project-name", name] if name else []

    def compose(self, *arguments: str, timeout_s: float = _TIMEOUT_S) -> str:
        """Run a command of Compose on this project, and return what it prints. Raises DockerFailed."""
        files = [word for file in self._files for word in ("--file", str(file))]
        return docker("compose", *self._named, *files, *arguments, timeout_s=timeout_s)

    def expect_nothing(self) -> None:
        """Raise BadInput if somebody has such a cluster already, running or kept: it must not be lost."""
        name = json.loads(self.compose("config", "--format", "json"))["name"]
        label = ("--quiet", "--filter", f"label=com.docker.compose.project={name}")
        if docker("ps", "--all", *label) or docker("volume", "ls", *label):
            raise BadInput(
                f"the containers or the volume of {name} are there already, perhaps with a run: "
                "keep what you need of it, then remove them with docker compose down -v."
            )

    def up(self) -> None:
        """Build, create and start all containers."""
        self.compose("up", "--build", "--detach", timeout_s=_BUILD_TIMEOUT_S)

    def down(self) -> None:
        """Remove containers, network and volumes."""
        self.compose("down", "--volumes", "--timeout", "10", timeout_s=120.0)

    def names(self) -> list[str]:
        """The containers' names."""
        configuration = json.loads(self.compose("config", "--format", "json"))
        return [service["container_name"] for service in configuration["services"].values()]

    def network(self) -> str:
        """The name of the network that they share."""
        configuration = json.loads(self.compose("config", "--format", "json"))
        return str(configuration["networks"]["default"]["name"])

    def logs(self, *services: str) -> str:
        """What the containers have printed."""
        return self.compose("logs", "--no-color", "--no-log-prefix", *services)


def exit_code(name: str) -> int | None:
    """The exit code of a container that has ended; None while it runs."""
    state = json.loads(docker("inspect", "--format", "{{json .State}}", name))
    return None if state["Running"] else int(state["ExitCode"])


def in_network_of(name: str, *command: str) -> str:
    """Run a command of this machine in a container's network namespace. Raises DockerFailed."""
    process = docker("inspect", "--format", "{{.State.Pid}}", name).strip()
    return _output(["nsenter", "--target", process, "--net", *command], _TIMEOUT_S)


def interface_of(name: str) -> str:
    """A container's network interface: eth0 at first, another one after it was cut off. Raises DockerFailed."""
    table = in_network_of(name, "cat", "/proc/net/dev").splitlines()[2:]
    for device in (line.split(":")[0].strip() for line in table):
        if device.startswith("eth"):
            return device
    raise DockerFailed(f"{name} has no network")


def can_delay_packets() -> bool:
    """Whether this machine's kernel has netem, and this process may use it."""
    if os.geteuid() != 0 or not shutil.which("tc") or not shutil.which("unshare"):
        return False
    trial = ["unshare", "--net", "tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    return subprocess.run(trial, capture_output=True, timeout=_TIMEOUT_S, check=False).returncode == 0


def can_change_networks() -> bool:
    """Whether packets can be dropped and rates limited: root, and the tools for it."""
    return os.geteuid() == 0 and all(shutil.which(tool) for tool in ("nsenter", "iptables", "tc"))


def _output(command: list[str], timeout_s: float) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise DockerFailed(f"{' '.join(command[:4])} did not end within {timeout_s:g} s") from None
    if done.returncode:
        raise DockerFailed((done.stderr or done.stdout).strip()[-2000:])
    return done.stdout
