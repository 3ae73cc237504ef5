"""Faults that happen to containers, drawn from a seed: the platform's kinds, as far as this machine can make them.

kill      killed, and started again after a while        drop    some of the packets that reach it are dropped
pause     all of its processes stop, and go on           rate    what it sends is limited to a rate
throttle  it gets a fraction of a CPU                    delay   what it sends is delayed (where the kernel has netem)
cut       off from the network; comes back, perhaps with another address
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from workload import containers
from workload.containers import docker, in_network_of, interface_of

_SECONDS = {
    "kill": (1.0, 15.0),
    "pause": (2.0, 30.0),
    "throttle": (5.0, 30.0),
    "cut": (2.0, 25.0),
    "drop": (5.0, 30.0),
    "rate": (5.0, 30.0),
    "delay": (5.0, 30.0),
}
KINDS = tuple(_SECONDS)
_GAP_S = (1.0, 10.0)
_ALL_CPUS = "2"


@dataclass(frozen=True)
class ContainerFault:
    """One fault: what, to whom, when (seconds after the one before), for how long, how hard (0 to 1)."""

    kind: str
    target: str
    gap_s: float
    duration_s: float
    strength: float

    def __str__(self) -> str:
        return f"{self.kind} {self.target} for {self.duration_s:.0f} s"


def draw(seed: int, targets: Sequence[str], kinds: Sequence[str]) -> Iterator[ContainerFault]:
    """An endless schedule: the same for the same seed, targets and kinds."""
    dice = random.Random(seed)
    while True:
        kind = dice.choice(list(kinds))
        yield ContainerFault(
            kind, dice.choice(list(targets)), dice.uniform(*_GAP_S), dice.uniform(*_SECONDS[kind]), dice.random()
        )


def kinds_here() -> list[str]:
    """The kinds of faults that this machine can make."""
    kinds = ["kill", "pause", "throttle", "cut"]
    if containers.can_change_networks():
        kinds += ["drop", "rate"]
    if containers.can_delay_packets():
        kinds += ["delay"]
    return kinds


def inject(fault: ContainerFault, network: str) -> Callable[[], None]:
    """Make a fault happen, and return what ends it. Raises DockerFailed."""
    name = fault.target
    if fault.kind == "kill":
        docker("kill", name)
        return lambda: _done(docker("start", name))
    if fault.kind == "pause":
        docker("pause", name)
        return lambda: _done(docker("unpause", name))
    if fault.kind == "throttle":
        docker("update", "--cpus", f"{0.1 + 0.4 * fault.strength:.2f}", name)
        return lambda: _done(docker("update", "--cpus", _ALL_CPUS, name))
    if fault.kind == "cut":
        docker("network", "disconnect", "--force", network, name)
        return lambda: _done(docker("network", "connect", network, name))
    begin, undo = _network_rule(fault)
    in_network_of(name, *begin)
    return lambda: _done(in_network_of(name, *undo))


def _network_rule(fault: ContainerFault) -> tuple[list[str], list[str]]:
    """The command that sets a rule in a container's network, and the one that takes it away."""
    if fault.kind == "drop":
        chance = f"{0.02 + 0.28 * fault.strength:.3f}"
        rule = ["INPUT", "-m", "statistic", "--mode", "random", "--probability", chance, "-j", "DROP"]
        return ["iptables", "-A", *rule], ["iptables", "-D", *rule]
    device = ["dev", interface_of(fault.target), "root"]
    if fault.kind == "rate":
        shaping = ["tbf", "rate", f"{1 + round(19 * fault.strength)}mbit", "burst", "32kbit", "latency", "400ms"]
    else:
        shaping = ["netem", "delay", f"{10 + round(490 * fault.strength)}ms", "20ms"]
    return ["tc", "qdisc", "add", *device, *shaping], ["tc", "qdisc", "del", *device]


def _done(_: str) -> None:
    """Takes what a command printed, and wants none of it."""
