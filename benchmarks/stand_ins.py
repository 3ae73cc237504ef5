"""Stand-ins for actors, which wait as long as a recorded rollout took and return its gradient; the cluster they are on.

A stand-in leaves its gradient on its node of a cluster on this machine: real raylets, so that what leaves a node is
sent from one object store to another. Stand-ins are slots of a few processes, because a thousand processes are more
than the driver's side needs to see.
"""

import asyncio
import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmarks.driver_work import Recorded
from bitexact.cluster.interface import Node
from bitexact.cluster.ray_cluster import Handle, RayCluster, Ticket
from bitexact.cluster.ray_session import connect
from bitexact.determinism import process
from bitexact.determinism.digests import fingerprints
from bitexact.determinism.process import ProcessInfo
from bitexact.storage.state import State
from pong.game import Pong
from pong.play import RolloutId
from training import initial_state
from training.settings import REINFORCE, Settings, of_preset
from training.update import new_batch
from workload.local_cluster import LocalCluster

AT_PARITY = "games of parity's length"
GAMES = {"games of the beginning": 1.0, AT_PARITY: 4.5}  # 1,000 and 4,500 steps
_STORE_BYTES = 3 << 30  # 1,000 gradients may lie on the nodes at a time
_SLOTS_OF_A_PROCESS = 100


@ray.remote(num_cpus=0, max_restarts=0)
class StandIns:
    """A process of many actors that compute nothing."""

    def __init__(self, gradients: list[Any], times_s: list[float]) -> None:
        self._gradients, self._times_s = gradients, times_s

    async def greet(self, packages: Sequence[str]) -> ProcessInfo:
        """Ready."""
        return process.describe(packages)

    async def run(self, weights: Any, task: Any, key: RolloutId, named: str = "") -> Any:
        """A recorded gradient, after the time that a recorded rollout took."""
        await asyncio.sleep(self._times_s[key.index % len(self._times_s)])
        gradient, record = self._gradients[key.index % len(self._gradients)]
        return gradient, dataclasses.replace(record, update=key.update, index=key.index, seal="")

    @ray.method(num_returns=2)
    async def run_and_keep(self, weights: Any, task: Any, key: RolloutId, named: str = "") -> Any:
        """The same; the gradient stays."""
        return await self.run(weights, task, key)

    async def hold(self, count: int) -> list[tuple[Any, dict[str, str]]]:
        """References to gradients in this node's object store, each with its arrays' fingerprints."""
        gradients = [self._gradients[index % len(self._gradients)][0] for index in range(count)]
        return [(ray.put(gradient), fingerprints(gradient)) for gradient in gradients]


class SlotCluster(RayCluster):
    """The pool's view of a cluster whose actors are slots of stand-ins' processes on each node."""

    def __init__(self, actors: int, recorded: Recorded, waits_s: list[float]) -> None:
        super().__init__(StandIns)
        where = [node for node in super().nodes() if node.cpus]
        slots = [actors // len(where) + (number < actors % len(where)) for number in range(len(where))]
        self._slots = [Node(node.id, node.name, count) for node, count in zip(where, slots, strict=True)]
        self.hosts: dict[str, list[Any]] = {node.id: [] for node in where}
        for node in self._slots:
            where_it_is = NodeAffinitySchedulingStrategy(node.id, soft=False)
            stand_ins: Any = StandIns
            here = stand_ins.options(scheduling_strategy=where_it_is, max_concurrency=_SLOTS_OF_A_PROCESS)
            for _ in range(0, node.cpus, _SLOTS_OF_A_PROCESS):
                self.hosts[node.id].append(here.remote(recorded, waits_s))
        self._next = {node.id: itertools.cycle(self.hosts[node.id]) for node in where}

    def nodes(self) -> list[Node]:
        """Each node, with its slots for CPUs."""
        return self._slots

    def start_actor(self, node: Node) -> tuple[Handle, Ticket]:
        """A slot on a node."""
        host = next(self._next[node.id])
        return Handle(node.id, host), Ticket(is_greeting=True, comes=host.greet.remote(()))

    def stop_actor(self, handle: Handle) -> None:
        """Slots are not stopped one by one."""

    def close(self) -> None:
        """Stop the processes."""
        for host in itertools.chain(*self.hosts.values()):
            ray.kill(host)


@contextmanager
def cluster_of(nodes: int) -> Iterator[LocalCluster]:
    """A cluster of so many nodes beside the head, which this process joins."""
    with LocalCluster(nodes, store_bytes=_STORE_BYTES) as cluster, connect(cluster.address, None):
        yield cluster


def record(count: int, hidden_units: int) -> tuple[State, Recorded, list[float]]:
    """Rollouts of update 2, and the seconds that each takes here while nothing else is done.

    Not of update 1: in that, each gradient is compared with a float64 sum, and is added by the driver therefore.
    """
    settings = reinforce(hidden_units=hidden_units)
    state = dataclasses.replace(initial_state.from_seed(settings), update=1)
    batch, game, recorded, times_s = new_batch(settings, state), Pong(), [], []
    for index in range(count):
        began = time.perf_counter()
        recorded.append(batch.task.run(game, state.weights, RolloutId(settings.seed, batch.update, index)))
        times_s.append(time.perf_counter() - began)
    return state, recorded, times_s


def reinforce(**changes: Any) -> Settings:
    """The preset whose rollouts are the largest to send: a gradient each."""
    return of_preset(REINFORCE, **changes)
