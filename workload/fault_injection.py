"""How each fault is brought about.

    injector = Injector(cluster)
    if injector.can_strike(fault, training):
        print(injector.strike(fault, training))

Processes are killed and frozen by signals, files are altered as a bad disk or a crash would, and Ray is told by its own
switch to fail RPCs.
"""

import signal
import threading
import time
from collections.abc import Callable

from workload.driver_process import DriverProcess
from workload.fault_schedule import ACTOR_FAULTS, Fault, Kind
from workload.local_cluster import LocalCluster, failing_rpcs, send


class Injector:
    """Strikes at a cluster and the driver that trains on it."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster

    def can_strike(self, fault: Fault, training: DriverProcess) -> bool:
        """Whether the fault's target is there by now."""
        if fault.kind in ACTOR_FAULTS:
            return bool(self._targets(fault))
        if fault.kind is Kind.HEAD_FROZEN:
            return training.has_committed
        if fault.kind is Kind.LEDGER_TORN:
            return training.has_ledger()
        return fault.kind is not Kind.CHECKPOINT_TORN or training.has_checkpoint()

    def strike(self, fault: Fault, training: DriverProcess) -> str:
        """Do it, and say to what. Empty if the target has just gone: then there was no fault."""
        how: dict[Kind, Callable[[], str]] = {
            Kind.ACTOR_KILLED: lambda: self._signal_actor(fault, signal.SIGKILL),
            Kind.ACTOR_FROZEN: lambda: self._signal_actor(fault, signal.SIGSTOP),
            Kind.ACTOR_FROZEN_A_WHILE: lambda: self._signal_actor(fault, signal.SIGSTOP, thaws=True),
            Kind.NODE_KILLED: lambda: self._kill_node(fault),
            Kind.NODE_FROZEN: lambda: f"raylet {self._cluster.freeze_node(fault.rank)}",
            Kind.RAYLET_FROZEN_A_WHILE: lambda: self._freeze_a_while(fault, self._cluster.raylets),
            Kind.HEAD_FROZEN_A_WHILE: lambda: self._freeze_a_while(fault, [self._cluster.control_service]),
            Kind.HEAD_FROZEN: lambda: f"process {self._cluster.freeze_head()}",
            Kind.NODE_ADDED: lambda: f"raylet {self._cluster.add_node()}",
            Kind.NODE_ADDED_FAILING: lambda: self._add_failing_node(fault),
            Kind.DRIVER_KILLED: lambda: _restart(training, fault),
            Kind.DRIVER_RESUMED_FAILING: lambda: _restart(training, fault, fails_rpcs=True),
            Kind.CHECKPOINT_TORN: lambda: _restart(training, fault, lambda: _tear_checkpoint(training, fault)),
            Kind.LEDGER_TORN: lambda: _restart(training, fault, lambda: training.tear_ledger(fault.torn_at)),
        }
        return how[fault.kind]()

    def _targets(self, fault: Fault) -> list[int]:
        """Actors: one to be frozen for a while is one that plays, as what it was doing is to come late."""
        return self._cluster.actors(playing=fault.kind is Kind.ACTOR_FROZEN_A_WHILE)

    def _signal_actor(self, fault: Fault, number: int, thaws: bool = False) -> str:
        targets = self._targets(fault)
        process = targets[fault.rank % len(targets)] if targets else 0
        if not process or not send(process, number):
            return ""
        return _thaw_later(process, fault) if thaws else f"process {process}"

    @staticmethod
    def _freeze_a_while(fault: Fault, targets: list[int]) -> str:
        process = targets[fault.rank % len(targets)]
        return _thaw_later(process, fault) if send(process, signal.SIGSTOP) else ""

    def _kill_node(self, fault: Fault) -> str:
        raylet = self._cluster.kill_node(fault.rank, fault.spares_workers)
        return f"raylet {raylet}" + ("" if fault.spares_workers else " and its workers")

    def _add_failing_node(self, fault: Fault) -> str:
        return f"raylet {self._cluster.add_node(fault.failing_percent)}, {_percent(fault)}"


def _thaw_later(process: int, fault: Fault) -> str:
    thaw = threading.Timer(fault.frozen_s, send, (process, signal.SIGCONT))  # on time, whatever is waited for then
    thaw.daemon = True
    thaw.start()
    return f"process {process}, for {fault.frozen_s:.1f} s"


def _restart(
    training: DriverProcess, fault: Fault, meanwhile: Callable[[], str] | None = None, fails_rpcs: bool = False
) -> str:
    told = [f"process {training.kill()}", f"away {fault.away_s:.1f} s"]
    if meanwhile:
        told.append(meanwhile())
    time.sleep(fault.away_s)
    training.start(failing_rpcs(fault.failing_percent) if fails_rpcs else None)
    return ", ".join(told + ([_percent(fault)] if fails_rpcs else []))


def _tear_checkpoint(training: DriverProcess, fault: Fault) -> str:
    return training.tear_checkpoint(fault.rank, fault.torn_at, fault.cuts)


def _percent(fault: Fault) -> str:
    return f"{'+'.join(map(str, fault.failing_percent))} % of RPCs fail"
