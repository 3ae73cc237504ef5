"""Many actors on few CPUs: the real pool and driver's parts, with stand-ins that return recorded gradients.

    python benchmarks/run.py --only many-actors
    python benchmarks/run.py --only across-nodes

A stand-in waits as long as a recorded rollout took, and returns its gradient, from another node of a cluster on this
machine: real raylets, so that each gradient is sent from one object store to another. Stand-ins are slots of a few
processes, because a thousand processes are more than the driver's side needs to see. What is compared is the time of an
update with the time it would take if the driver and the way to it cost nothing: the same rollouts on as many actors.
"""

import asyncio
import dataclasses
import heapq
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import learning
import state as states
from aggregation import TreeSum
from benchmarks.driver_work import Recorded
from benchmarks.figures import Figure, Result
from benchmarks.updates import Listener
from game import Pong
from pool import Node, Pool, PoolSettings
from ray_cluster import RayCluster, connect
from settings import CLASSIC, Settings, of_preset
from state import State
from workload.local_cluster import LocalCluster

_PUBLISHED = {10: (64, 2.5), 60: (64, 3.0), 300: (198, 10.0)}  # batch: cores, seconds (Ray, "Learning to Play Pong")
_AT_PARITY = "games of parity's length"
_GAMES = {"games of the beginning": 1.0, _AT_PARITY: 4.5}  # 1,000 and 4,500 steps
_STORE_BYTES = 3 << 30  # 1,000 gradients may lie on the nodes at a time
_SLOTS_OF_A_PROCESS = 100
_TIMEOUT_S = 120.0
_PATIENCE_S = 600.0  # results wait for their turn to be sent: none is to be computed a second time for it


class Setting(NamedTuple):
    """So many actors, the batch that they share, and how often it is timed."""

    actors: int
    batch_size: int
    rounds: int


_SETTINGS = [Setting(64, 60, 3), Setting(198, 300, 3), Setting(1000, 3000, 1)]


@ray.remote(num_cpus=0, max_restarts=0)
class StandIns:
    """A process of many actors that compute nothing."""

    def __init__(self, gradients: list[Any], times_s: list[float]) -> None:
        self._gradients, self._times_s = gradients, times_s

    async def greet(self) -> None:
        """Ready."""

    async def compute_gradient(self, weights: Any, update: int, index: int) -> Any:
        """A recorded gradient, after the time that a recorded rollout took."""
        await asyncio.sleep(self._times_s[index % len(self._times_s)])
        gradient, record = self._gradients[index % len(self._gradients)]
        return gradient, dataclasses.replace(record, update=update, index=index)

    async def hold(self, count: int) -> list[Any]:
        """References to gradients in this node's object store."""
        return [ray.put(self._gradients[index % len(self._gradients)]) for index in range(count)]


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

    def start_actor(self, node: Node) -> tuple[Any, Any]:
        """A slot on a node."""
        host = next(self._next[node.id])
        return host, host.greet.remote()

    def stop_actor(self, actor: Any) -> None:
        """Slots are not stopped one by one."""

    def close(self) -> None:
        """Stop the processes."""
        for host in itertools.chain(*self.hosts.values()):
            ray.kill(host)


def measure(smallest: bool) -> Result:
    """Updates of several sizes, with recorded games of the beginning and with games as long as those at parity."""
    nodes, settings = (1, [Setting(3, 4, 1)]) if smallest else (3, _SETTINGS)
    state, recorded, times_s = _record(2 if smallest else 10, 8 if smallest else 200)
    figures, points = [], []
    with _cluster(nodes):
        for setting in settings:
            for name, longer in _GAMES.items():
                waits_s = [longer * time_s for time_s in times_s]
                wall_s = median(_updates_s(setting, state, recorded, waits_s, setting.rounds))
                ideal_s = makespan_s([waits_s[i % len(waits_s)] for i in range(setting.batch_size)], setting.actors)
                points.append({**setting._asdict(), "games": name, "wall_s": wall_s, "ideal_s": ideal_s})
                figures += _figures(points[-1], max(waits_s))
    return Result(figures, {"points": points, "published": _PUBLISHED})


def _figures(point: dict[str, Any], slowest_s: float) -> list[Figure]:
    what = f"{point['actors']} actors, batch {point['batch_size']}, {point['games']}"
    added_s = point["wall_s"] - point["ideal_s"]
    goal = {"at_most": 5.0} if point["batch_size"] == 300 else {}
    return [
        Figure(f"{what}: an update ({point['ideal_s']:.2f} s if the driver cost nothing)", point["wall_s"], "s"),
        Figure("of that added, a rollout", added_s / point["batch_size"] * 1e3, "ms"),
        Figure("of that added, of the slowest rollout", 100.0 * added_s / slowest_s, "%", **goal),
    ]


def makespan_s(times_s: list[float], actors: int) -> float:
    """When the last rollout ends if each actor takes the next as soon as it is free, and nothing else takes time."""
    free_at = [0.0] * actors
    for time_s in times_s:
        heapq.heapreplace(free_at, free_at[0] + time_s)
    return max(free_at)


def _updates_s(setting: Setting, state: State, recorded: Recorded, waits_s: list[float], rounds: int) -> list[float]:
    """Seconds that each of some updates takes: weights out, gradients in, their sum, RMSProp."""
    cluster = SlotCluster(setting.actors, recorded, waits_s)
    pool = Pool(cluster, PoolSettings(setting.actors, setting.batch_size, item_timeout_s=_PATIENCE_S), Listener())
    settings = _classic(batch_size=setting.batch_size, hidden_units=state.weights["W2"].size)
    seconds = []
    try:
        pool.wait_until_ready()
        for _ in range(rounds):
            began = time.monotonic()
            batch = learning.new_batch(settings, state)
            for _, (gradient, record) in pool.run(batch.method, state.weights, batch.keys):
                batch.add(gradient, record)
            batch.learn()
            seconds.append(time.monotonic() - began)
    finally:
        cluster.close()
    return seconds


def measure_across_nodes(smallest: bool) -> Result:
    """Fetch and add gradients that lie in the object stores of other nodes, with nothing else to wait for."""
    nodes, count, hidden_units = (1, 3, 8) if smallest else (3, 300, 200)
    _, recorded, times_s = _record(1 if smallest else 10, hidden_units)
    with _cluster(nodes):
        cluster = SlotCluster(nodes, recorded, times_s)
        held = [hosts[0].hold.remote(count // nodes) for hosts in cluster.hosts.values()]
        waiting = [reference for of_node in ray.get(held, timeout=_TIMEOUT_S) for reference in of_node]
        del held  # else it keeps every gradient alive
        total, count, add_s, began = TreeSum(len(waiting)), len(waiting), 0.0, time.perf_counter()
        while waiting:  # as the pool does: Ray may bring all that is waited for, and lets go of what has been added
            ready, waiting = ray.wait(waiting, timeout=_TIMEOUT_S)
            gradient, _ = ray.get(ready[0], timeout=_TIMEOUT_S)
            fetched = time.perf_counter()
            total.add(len(waiting), gradient)
            add_s += time.perf_counter() - fetched
            del ready, gradient
        whole_s = time.perf_counter() - began
    slowest_s = max(times_s)
    per_cent = 100.0 * whole_s / slowest_s
    figures = [
        Figure("fetch a gradient from another node", (whole_s - add_s) / count * 1e3, "ms"),
        Figure("add it", add_s / count * 1e3, "ms"),
        Figure(f"fetch and add {count}", whole_s, "s"),
        Figure(f"of the slowest rollout ({slowest_s:.2f} s)", per_cent, "%"),
        Figure("of one as long as at parity", per_cent / _GAMES[_AT_PARITY], "%"),
    ]
    return Result(figures)


@contextmanager
def _cluster(nodes: int) -> Iterator[None]:
    """A cluster of so many nodes beside the head, which this process joins."""
    with LocalCluster(nodes, store_bytes=_STORE_BYTES) as cluster, connect(cluster.address, None):
        yield


def _record(count: int, hidden_units: int) -> tuple[State, Recorded, list[float]]:
    """Rollouts, and the seconds that each takes here while nothing else is done."""
    settings = _classic(hidden_units=hidden_units)
    state = states.initial(settings)
    batch, game, recorded, times_s = learning.new_batch(settings, state), Pong(), [], []
    for index in range(count):
        began = time.perf_counter()
        recorded.append(batch.play(game, index))
        times_s.append(time.perf_counter() - began)
    return state, recorded, times_s


def _classic(**changes: Any) -> Settings:
    """The preset whose rollouts are the largest to send: a gradient each."""
    return of_preset(CLASSIC, **changes)
