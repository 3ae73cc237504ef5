"""A container's supervisor: keeps this node of the Ray cluster up and, in the trainer, the driver. Never gives up.

    python -m workload.supervise head --num-cpus 0
    python -m workload.supervise worker --head pong-head --num-cpus 1
    python -m workload.supervise trainer --head pong-head --num-cpus 0 --run-dir /runs/pong -- --batch-size=10

What follows `--` goes to driver.py, until a scenario is drawn (scenario.py): then its run is trained. Whatever fails is
started anew inside the container, after a delay that doubles up to a limit; the container itself ends on SIGTERM only,
with 0, within ten seconds. To follow it, read its log: one line on what it saw and what it did. Ray's own logs are in
/tmp/ray/session_latest/logs, those from before the last restart in /tmp/ray-before.

Ray is started anew when it ended, when this container's address is another one, and when the head does not know this
node (any more). The driver goes with it, as its place in the cluster is lost. What happens when the driver ends by
itself depends on its exit code (exits.py):

    0                      the run is complete: nothing more to do
    1, with a sentence     a property failed: it stays stopped, for somebody to look at
    6                      a bug in this program: likewise, with a sentence or without
    2                      bad input: said, and tried again every minute, as a volume or a head may be mended meanwhile
    4                      the disk refuses: tried again every half minute
    3 and all others       the cluster is lost, or the process was (129, 130, 141, 143 and signals): soon

Exit code 1 without a sentence is Ray's: it ends the driver's process so when the head is lost.

The trainer tells the platform that setup is complete once this node has joined the cluster and the driver has committed
an update; once for all, as a file beside the run directory remembers it.
"""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from workload import health
from workload.driver_command import DRIVER
from workload.ray_node import HEAD_PORT, RayNode
from workload.supervised_driver import Delay, Driver, say

LOOK_EVERY_S = 1.0
STEADY_S = 30.0  # a node that stood for so long starts again after the first delay
SET_UP = "setup-complete"  # beside the run directory, so on its volume


class Stop(BaseException):
    """SIGTERM or SIGINT came."""


class Supervisor:
    """Looks at the node and the driver every second, and does what is due."""

    def __init__(self, node: RayNode, driver: Driver | None) -> None:
        self._node, self._driver = node, driver
        self._delay = Delay()
        self._steady_at = 0.0
        self._was_joined = self._said_that_it_waits = self._setup_complete = False

    def run(self) -> None:
        """Look, until told to stop."""
        signal.signal(signal.SIGTERM, _on_signal)
        signal.signal(signal.SIGINT, _on_signal)
        try:
            while True:
                try:
                    self._look()
                except OSError as error:  # no room for another process or file; perhaps at the next look
                    say(f"{error}: tried again in {self._delay.begin():.0f} s")
                time.sleep(LOOK_EVERY_S)
        except Stop:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            health.write(False, "stopped")
            self._stop()
            say("stopped")

    def _look(self) -> None:
        if self._node.running:
            self._look_at_node()
        elif self._delay.over():
            self._start_node()
        if self._driver:
            self._driver.keep(self._node.joined)
            self._report_setup(self._driver)
        health.write(*self._health())

    def _start_node(self) -> None:
        if self._node.can_start():
            self._said_that_it_waits = False
            self._node.start()
        elif not self._said_that_it_waits:
            self._said_that_it_waits = True
            say("waiting for the network and the head")

    def _look_at_node(self) -> None:
        reason = self._node.look()
        if reason:
            say(f"{reason}: Ray is started again in {self._delay.begin():.0f} s")
            health.write(False, reason)
            self._stop()
            self._was_joined = False
        elif self._node.joined != self._was_joined:
            self._was_joined = self._node.joined
            self._steady_at = time.monotonic() + STEADY_S
            say(f"Ray is up at {self._node.address}" if self._was_joined else self._node.standing.value)
        elif self._was_joined and time.monotonic() > self._steady_at:
            self._delay.forgive()

    def _report_setup(self, driver: Driver) -> None:
        if self._setup_complete or not (self._node.joined and driver.has_committed()):
            return
        first = _for_the_first_time(driver.run.parent / SET_UP)
        self._setup_complete = True
        if not first:
            return
        say("setup complete: the cluster stands, and an update is committed")
        with contextlib.redirect_stdout(None):  # the SDK announces its file on standard output
            from antithesis.lifecycle import setup_complete
        setup_complete({"run_directory": str(driver.run)})

    def _health(self) -> tuple[bool, str]:
        if not self._node.joined:
            return False, self._node.standing.value if self._node.running else "Ray is not running"
        if self._driver is None or self._driver.complete:
            return True, f"Ray is up at {self._node.address}"
        if not self._driver.running:
            return False, self._driver.end or "the driver is not running"
        return self._setup_complete, "training" if self._setup_complete else "no update is committed yet"

    def _stop(self) -> None:
        if self._driver:
            self._driver.stop()
        self._node.stop()


def _for_the_first_time(marker: Path) -> bool:
    """Whether a marker was not there. It is before what it marks is done: no fault comes before setup is complete."""
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def assemble(arguments: Sequence[str]) -> tuple[RayNode, Driver | None]:
    """The node and the driver that a command line asks for."""
    own, for_driver = _split(list(arguments))
    parser = argparse.ArgumentParser(
        prog="supervise", description="Keeps a node of the Ray cluster up, and the driver."
    )
    parser.add_argument("role", choices=["head", "worker", "trainer"])
    parser.add_argument("--head", metavar="HOST", help="the head's name; it is looked up anew at each look")
    parser.add_argument("--num-cpus", type=int, required=True, help="CPUs for actors on this node")
    parser.add_argument("--object-store-mb", type=int, default=200, help="no more than the container's shm_size")
    parser.add_argument("--run-dir", type=Path, default=Path("/runs/pong"), help="where the trainer keeps its run")
    settings = parser.parse_args(own)
    is_head = settings.role == "head"
    if not is_head and not settings.head:
        parser.error(f"a {settings.role} needs --head")
    node = RayNode(settings.head, is_head, settings.num_cpus, settings.object_store_mb)
    if settings.role != "trainer":
        return node, None
    command = [*DRIVER, f"--address={settings.head}:{HEAD_PORT}"]
    return node, Driver(settings.run_dir, command, for_driver)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What stands before `--`, and after it."""
    at = arguments.index("--") if "--" in arguments else len(arguments)
    return arguments[:at], arguments[at + 1 :]


def _on_signal(number: int, frame: FrameType | None) -> None:
    raise Stop


if __name__ == "__main__":
    Supervisor(*assemble(sys.argv[1:])).run()
