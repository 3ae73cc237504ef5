"""The platform's part, played: the test template's commands and the faults, side by side on the compose cluster.

platform = Platform(cluster, seed=7, stop_at_failure=False, check_interrupt=interrupts.check)
platform.play(600.0)
platform.failures, platform.faults, platform.ended
"""

import contextlib
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from workload import container_faults
from workload.container_faults import ContainerFault
from workload.containers import ComposeCluster, DockerFailed, docker, exit_code

TRAINER, SERVICE = "pong-trainer", "trainer"  # its container, and the same in the compose file
LOOK_EVERY_S = 1.0
_TEMPLATE = "/opt/antithesis/test/v1/pong"
_ASKS_FOR_QUIET = "recover"  # in the name of the one command that does
_QUIET_REQUEST = "/tmp/quiet-until"  # in the trainer: until when a command asked for no faults, seconds since the epoch
_COMMAND_TIMEOUT_S = 600.0
_COMMANDS_AT_ONCE = 3
_ALONE = "serial_driver_"
_MEANWHILE = (_ALONE, "parallel_driver_", "anytime_")  # the kinds that run while there are faults
_FAULTS_AT_ONCE = 2
_COMMAND_GAP_S = (3.0, 20.0)
_NOT_ITS_FAULT = (125, 126, 137, 143)  # docker could not, or the container was killed under it
_SETTLED_S = 20.0  # a command that was at work within this time of a fault to its container was hit by it


class Command(NamedTuple):
    """A command of the test template, and the container in which it is."""

    container: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} in {self.container}"


class Platform:
    """Runs the test template's commands and injects faults."""

    def __init__(
        self, cluster: ComposeCluster, seed: int, stop_at_failure: bool, check_interrupt: Callable[[], None]
    ) -> None:
        self._cluster, self._stop_at_failure = cluster, stop_at_failure
        self._names, self._network = cluster.names(), cluster.network()
        self._schedule = container_faults.draw(seed, self._names, container_faults.kinds_here())
        self._dice = random.Random(f"commands of {seed}")
        self._check_interrupt = check_interrupt
        self._ends: dict[
            str, tuple[float, ContainerFault, Callable[[], None]]
        ] = {}  # by container, while a fault lasts
        self._disturbed_at: dict[str, float] = {}
        self._commands: dict[subprocess.Popen[str], tuple[Command, float]] = {}
        self._template = [
            Command(name, word) for name in self._names for word in docker("exec", name, "ls", _TEMPLATE).split()
        ]
        self.faults: Counter[str] = Counter()
        self.ended: Counter[tuple[str, int]] = Counter()
        self.failures: list[str] = []

    def play(self, duration_s: float) -> None:
        """All phases, in the platform's order."""
        for command in self._of_kind("first_")[:1]:
            self._run_to_end(command)
        try:
            self._disturb(duration_s)
        finally:
            self._end_faults()
        if self._is_enough():
            return
        self._end_commands()
        for kind in ("eventually_", "finally_"):
            for command in self._of_kind(kind):
                self._run_to_end(command)
        self._check_containers()

    def _disturb(self, duration_s: float) -> None:
        """Commands and faults side by side."""
        end = time.monotonic() + duration_s
        fault = next(self._schedule)
        next_fault = time.monotonic() + fault.gap_s
        next_command, command = time.monotonic(), self._draw(*_MEANWHILE)
        while (now := time.monotonic()) < end and not self._is_enough():
            self._check_interrupt()
            self._settle(now)
            if now >= next_command and self._may_start(command):
                self._start(command)
                command = self._draw(*_MEANWHILE)
                next_command = now + self._dice.uniform(*_COMMAND_GAP_S)
            if self._is_quiet():
                self._end_faults()
            elif now >= next_fault and len(self._ends) < _FAULTS_AT_ONCE and fault.target not in self._ends:
                self._inject(fault, now)
                fault = next(self._schedule)
                next_fault = now + fault.gap_s
            time.sleep(LOOK_EVERY_S)  # what happens next is drawn by the clock: there is nothing to wait on

    def _is_enough(self) -> bool:
        """Whether a failure is known, and one is all that is wanted."""
        return self._stop_at_failure and bool(self.failures or "property failed" in self._cluster.logs(SERVICE))

    # ---- faults ----

    def _inject(self, fault: ContainerFault, now: float) -> None:
        try:
            end = container_faults.inject(fault, self._network)
        except DockerFailed as error:
            say(f"fault   {fault}: not possible just now ({error})")
            return
        self.faults[fault.kind] += 1
        self._ends[fault.target] = (now + fault.duration_s, fault, end)
        self._disturbed_at[fault.target] = now
        say(f"fault   {sum(self.faults.values())}: {fault}")

    def _settle(self, now: float) -> None:
        """End the faults whose time is over, and take note of the commands that have ended."""
        for target, (until, _, _) in list(self._ends.items()):
            if now >= until:
                self._end_fault(target)
        for process in [process for process in self._commands if process.poll() is not None]:
            self._judge(process)

    def _end_fault(self, target: str) -> None:
        _, fault, end = self._ends.pop(target)
        self._disturbed_at[target] = time.monotonic()
        try:
            end()
        except DockerFailed as error:
            self.failures.append(f"the fault {fault} could not be ended: {error}")

    def _end_faults(self) -> None:
        for target in list(self._ends):
            self._end_fault(target)

    def _is_quiet(self) -> bool:
        """Whether a command has asked for a period without faults, which lasts no longer than the command."""
        if not any(_ASKS_FOR_QUIET in command.name for command, _ in self._commands.values()):
            return False
        try:
            until = docker("exec", TRAINER, "sh", "-c", f"cat {_QUIET_REQUEST} 2>/dev/null || echo 0", timeout_s=5.0)
            return float(until) > time.time()
        except (DockerFailed, ValueError):
            return False  # the trainer is down or paused: nobody asks

    # ---- commands ----

    def _of_kind(self, *prefixes: str) -> list[Command]:
        return [command for command in self._template if command.name.startswith(prefixes)]

    def _draw(self, *prefixes: str) -> Command:
        """A command, then a container that has it: else those that are in all would leave no time for the others."""
        found = self._of_kind(*prefixes)
        name = self._dice.choice(sorted({command.name for command in found}))
        return self._dice.choice([command for command in found if command.name == name])

    def _may_start(self, command: Command) -> bool:
        """Whether there is room: a serial driver has no other driver beside it."""
        running = [other for other, _ in self._commands.values()]
        if any(one.name.startswith(_ALONE) for one in (command, *running)):
            return not running
        return len(running) < _COMMANDS_AT_ONCE

    def _start(self, command: Command) -> subprocess.Popen[str]:
        request = f"{Path(__file__).parent.name}/request_quiet.sh"
        stop_faults = f"ANTITHESIS_STOP_FAULTS=/opt/antithesis/catalog/ray-pong/{request}"
        line = ["docker", "exec", "--env", stop_faults, command.container, f"{_TEMPLATE}/{command.name}"]
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self._commands[process] = (command, time.monotonic())
        say(f"command {command} starts")
        return process

    def _run_to_end(self, command: Command) -> None:
        """Run a command alone, without faults."""
        process = self._start(command)
        deadline = time.monotonic() + _COMMAND_TIMEOUT_S
        while process.poll() is None and time.monotonic() < deadline:
            self._check_interrupt()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=LOOK_EVERY_S)
        if process.poll() is None:
            process.kill()
            self.failures.append(f"{command} did not end within {_COMMAND_TIMEOUT_S:g} s")
        self._judge(process)

    def _judge(self, process: subprocess.Popen[str]) -> None:
        """Take note of how a command ended. What a fault did to it is not held against it."""
        command, began = self._commands.pop(process)
        output = process.communicate()[0].strip()
        last_line = output.splitlines()[-1] if output else ""
        code, container = process.returncode, command.container
        disturbed = self._disturbed_at.get(container, 0.0) + _SETTLED_S > began or container in self._ends
        excused = code in _NOT_ITS_FAULT or (disturbed and "Error response from daemon" in output)
        self.ended[command.name, code] += 1
        say(f"command {command} ended with {code} after {time.monotonic() - began:.0f} s: {last_line}")
        if code and not excused:
            self.failures.append(f"{command} ended with {code}: {last_line}")

    def _end_commands(self) -> None:
        """The platform ends driver commands with the faults; here they may come to their own end."""
        deadline = time.monotonic() + _COMMAND_TIMEOUT_S
        while self._commands and time.monotonic() < deadline:
            self._check_interrupt()
            self._settle(time.monotonic())
            time.sleep(LOOK_EVERY_S)
        for process in list(self._commands):
            process.kill()
            command, _ = self._commands.pop(process)
            self.failures.append(f"{command} did not end within {_COMMAND_TIMEOUT_S:g} s")

    def _check_containers(self) -> None:
        """None may have ended by itself."""
        for name in self._names:
            code = exit_code(name)
            if code is not None:
                self.failures.append(f"container {name} ended with {code}")


def say(text: str) -> None:
    """One line, with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
