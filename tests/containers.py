"""A cluster in containers for tests: docker-compose.yaml under a name of its own, faults, and what came of them.

    with Containers("raypongtest") as cluster:
        cluster.build()
        cluster.up()
        cluster.kill("worker-1"); cluster.start("worker-1")

The project, its containers, network, volume and images carry the name, so that it runs beside a user's own, and is
removed with all that it made however the test ends.
"""

import functools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from bitexact.cli.exits import BadInput
from workload.containers import COMPOSE_FILE, ComposeCluster, DockerFailed, docker, expect_engine

RUN = "/runs/pong"
TEMPLATE = "/opt/antithesis/test/v1/pong"
_COMMAND_TIMEOUT_S = 120.0
_UP_TIMEOUT_S = 300.0
_BUILD_TIMEOUT_S = 900.0


@functools.cache
def why_not() -> str:
    """Why containers cannot be used here; empty if they can."""
    try:
        expect_engine()
    except BadInput as error:
        return str(error)
    return ""


class Containers(ComposeCluster):
    """One Compose project. `arguments` replace those of the driver."""

    def __init__(self, name: str, arguments: list[str] | None = None) -> None:
        super().__init__(name=name)
        self.name = name
        self._folder = Path(tempfile.mkdtemp(prefix=name))
        self._own = self._overriding(arguments)
        self._read_also("override.yaml", self._own)

    def __enter__(self) -> "Containers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.down()
        finally:
            shutil.rmtree(self._folder)

    # ---- the project ----

    def build(self) -> None:
        """Build the images: minutes at first, seconds where only code has changed."""
        self.compose("build", "--quiet", timeout_s=_BUILD_TIMEOUT_S)

    def up(self) -> None:
        """Return when all containers have been started, each as soon as those that it waits for are healthy."""
        self.compose("up", "--detach", "--no-build", timeout_s=_UP_TIMEOUT_S)

    def stop(self) -> None:
        """Stop all containers, and keep them."""
        self.compose("stop")

    def down(self) -> None:
        """Remove containers, network, volume and images."""
        for container in docker("ps", "--quiet", "--filter", "status=paused", *self._of_project()).split():
            docker("unpause", container)
        self.compose("down", "--volumes", "--timeout", "5", "--rmi", "all")

    def forget(self) -> None:
        """`down --volumes`, as a user would."""
        self.compose("down", "--volumes")

    def change_all(self, settings: dict[str, Any]) -> None:
        """Give all services settings more."""
        self._read_also("all.yaml", dict.fromkeys(self._own, settings))

    def add(self, service: str, settings: dict[str, Any]) -> None:
        """Start one more service, which extends one of the compose file's, as a user's override file would say it."""
        like = settings["extends"]["service"]
        extends = {"file": str(COMPOSE_FILE), "service": like}
        own = {**self._own[like], "container_name": self.container(service), "hostname": self.container(service)}
        self._read_also(f"{service}.yaml", {service: {**settings, **own, "extends": extends}})
        self.compose("up", "--detach", "--no-build", service, timeout_s=_UP_TIMEOUT_S)

    def remove(self, service: str) -> None:
        """Stop a service that was added, and forget it."""
        self.compose("rm", "--stop", "--force", service)
        self._files.remove(self._folder / f"{service}.yaml")

    def volumes(self) -> list[str]:
        """The project's volumes."""
        return docker("volume", "ls", "--quiet", *self._of_project()).split()

    # ---- faults ----

    def container(self, service: str) -> str:
        """A service's container."""
        return f"{self.name}-{service}"

    def kill(self, service: str) -> None:
        """Kill a container's processes, all at once."""
        docker("kill", self.container(service))

    def start(self, service: str) -> None:
        """Start a container again."""
        docker("start", self.container(service))

    def pause(self, service: str) -> None:
        """Freeze a container's processes."""
        docker("pause", self.container(service))

    def unpause(self, service: str) -> None:
        """Thaw them."""
        docker("unpause", self.container(service))

    def disconnect(self, service: str) -> None:
        """Cut a container off from the others."""
        docker("network", "disconnect", self.network(), self.container(service))

    def connect(self, service: str) -> None:
        """Rejoin a container, with an address that is not the one it had: another container takes that meanwhile."""
        other = f"{self.name}-takes-an-address"
        image = self._inspect(service, "{{.Image}}")
        docker("run", "--detach", "--name", other, "--network", self.network(), "--entrypoint", "sleep", image, "60")
        try:
            docker("network", "connect", self.network(), self.container(service))
        finally:
            docker("rm", "--force", other)

    # ---- test commands ----

    def start_command(self, name: str, service: str = "trainer") -> "subprocess.Popen[str]":
        """Begin to run a command of the test template where the platform runs it."""
        command = ["docker", "exec", self.container(service), f"{TEMPLATE}/{name}"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    # ---- what came of it ----

    def address(self, service: str) -> str:
        """A container's address."""
        return self._inspect(service, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")

    def health(self, service: str) -> str:
        """starting, healthy or unhealthy."""
        return self._inspect(service, "{{.State.Health.Status}}")

    def status(self, service: str) -> str:
        """running, paused, exited..."""
        return self._inspect(service, "{{.State.Status}}")

    def exit_code(self, service: str) -> int:
        """With what a container that is not running ended."""
        return int(self._inspect(service, "{{.State.ExitCode}}"))

    def digests(self, run: str = RUN) -> dict[int, str]:
        """A run's ledger: each update's digest."""
        try:
            text = docker("exec", self.container("trainer"), "cat", f"{run}/metrics.jsonl")
        except DockerFailed:
            text = ""  # the trainer is down, or the run has not begun
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        assert [line["update"] for line in lines] == list(range(1, len(lines) + 1)), "the ledger has gaps"
        return {line["update"]: line["weights_digest"] for line in lines}

    def wait_for_update(self, update: int, timeout_s: float) -> dict[int, str]:
        """The ledger, once it holds an update."""
        self.wait(lambda: len(self.digests()) >= update, f"update {update}", timeout_s)
        return self.digests()

    def wait(self, holds: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Wait until something holds, and return how long that took; fail with the logs' ends otherwise."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > timeout_s:
                logs = self.compose("logs", "--no-color", "--tail", "25")
                raise AssertionError(f"{what} did not come within {timeout_s:.0f} s. The logs end in:\n{logs}")
            time.sleep(1.0)
        return time.monotonic() - began

    # ---- how ----

    def _overriding(self, arguments: list[str] | None) -> dict[str, Any]:
        """What the project must have of its own: each name that the compose file fixes."""
        services = yaml.safe_load(COMPOSE_FILE.read_text())["services"]
        override = {}
        for service, settings in services.items():
            command = [f"--head={self.name}-head" if "--head=" in word else word for word in settings["command"]]
            if arguments and "--" in command:
                command = [*command[: command.index("--") + 1], *arguments]
            name = f"{self.name}-{service}"
            image = settings["image"].replace("ray-pong", self.name)
            override[service] = {"container_name": name, "hostname": name, "image": image, "command": command}
        return override

    def _read_also(self, name: str, services: dict[str, Any]) -> None:
        self._files.append(self._folder / name)
        self._files[-1].write_text(yaml.safe_dump({"services": services}))

    def _of_project(self) -> list[str]:
        return ["--filter", f"label=com.docker.compose.project={self.name}"]

    def _inspect(self, service: str, template: str) -> str:
        return docker("inspect", "--format", template, self.container(service)).strip()
