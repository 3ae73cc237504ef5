"""Many actors on few CPUs: the real pool and driver's parts, with stand-ins that return recorded gradients.

    python -m benchmarks.run --only many-actors
    python -m benchmarks.run --only across-nodes

A stand-in waits as long as a recorded rollout took, and leaves its gradient on its node of a cluster on this machine:
real raylets, so that what leaves a node is sent from one object store to another. Stand-ins are slots of a few
processes, because a thousand processes are more than the driver's side needs to see. What is compared is the time of an
update with the time it would take if the driver and the way to it cost nothing: the same rollouts on as many actors.
"""

import asyncio
import dataclasses
import heapq
import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmarks.driver_work import Recorded
from benchmarks.figures import Figure, Result, median_of
from benchmarks.updates import Listener
from bitexact.cluster.interface import Node, PoolSettings
from bitexact.cluster.pool import Pool
from bitexact.cluster.ray_cluster import Handle, OnNode, RayCluster, Stays, Ticket
from bitexact.cluster.ray_session import connect
from bitexact.cluster.remote_sum import RemoteReducer, RemoteSum
from bitexact.determinism import process
from bitexact.determinism.process import ProcessInfo
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage.state import State
from pong.game import Pong
from pong.play import RolloutId
from training import initial_state
from training.settings import REINFORCE, Settings, of_preset
from training.update import new_batch
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

    async def greet(self, packages: Sequence[str]) -> ProcessInfo:
        """Ready."""
        return process.describe(packages)

    async def run(self, weights: Any, task: Any, key: RolloutId) -> Any:
        """A recorded gradient, after the time that a recorded rollout took."""
        await asyncio.sleep(self._times_s[key.index % len(self._times_s)])
        gradient, record = self._gradients[key.index % len(self._gradients)]
        return gradient, dataclasses.replace(record, update=key.update, index=key.index)

    @ray.method(num_returns=2)
    async def run_and_keep(self, weights: Any, task: Any, key: RolloutId) -> Any:
        """The same; the gradient stays."""
        return await self.run(weights, task, key)

    async def hold(self, count: int) -> list[Any]:
        """References to gradients in this node's object store."""
        return [ray.put(self._gradients[index % len(self._gradients)][0]) for index in range(count)]


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
    cluster, listener = SlotCluster(setting.actors, recorded, waits_s), Listener()
    pool = Pool(cluster, PoolSettings(setting.actors, setting.batch_size, item_timeout_s=_PATIENCE_S), listener)
    reducer = RemoteReducer(cluster, listener)
    settings = _reinforce(batch_size=setting.batch_size, hidden_units=state.weights["W2"].size)
    seconds = []
    try:
        pool.wait_until_ready()
        for _ in range(rounds):
            began = time.monotonic()
            batch = new_batch(settings, state, reducer)
            while rollout_ids := batch.missing():
                task = Stays(batch.task) if batch.leaves_results else batch.task
                for _, (gradient, record) in pool.run(task, state.weights, rollout_ids):
                    batch.add(gradient, record)
            batch.learn()
            seconds.append(time.monotonic() - began)
    finally:
        reducer.give_up()
        cluster.close()
    return seconds


class Added(NamedTuple):
    """What it took to add some gradients."""

    wall_s: float
    driver_s: float  # CPU time of the driver and of its node's raylet
    nodes_s: float  # CPU time of all other nodes
    adding_s: float  # of `wall_s`, in the driver


def measure_across_nodes(smallest: bool) -> Result:
    """Add gradients that lie in other nodes' object stores, with nothing else to wait for: in the driver and there."""
    nodes, count, hidden_units, rounds = (2, 6, 8, 1) if smallest else (3, 300, 200, 3)
    state, recorded, times_s = _record(1 if smallest else 10, hidden_units)
    here, there = [], []
    with _cluster(nodes) as local:
        cluster = SlotCluster(nodes, recorded, times_s)
        reducer = RemoteReducer(cluster, Listener())
        _add_there(local, reducer, state, _held(cluster, 2 * nodes))  # a pair on each node: what adds there is started
        for _ in range(rounds):
            here.append(_add_here(local, _held(cluster, count)))
            there.append(_add_there(local, reducer, state, _held(cluster, count)))
        reducer.give_up()
        cluster.close()
    slowest_s = max(times_s)
    adding_s = median([one.adding_s for one in here])
    figures = [
        Figure(
            "fetch a gradient from another node", (median([one.wall_s for one in here]) - adding_s) / count * 1e3, "ms"
        ),
        Figure("add it", adding_s / count * 1e3, "ms"),
    ]
    for name, found in {
        f"{count} fetched and added by the driver": here,
        f"{count} added on their nodes": there,
    }.items():
        whole_s = median([one.wall_s for one in found])
        figures += [
            median_of(name, [one.wall_s for one in found], "s"),
            Figure(f"of the slowest rollout ({slowest_s:.2f} s)", 100.0 * whole_s / slowest_s, "%"),
            Figure("of one as long as at parity", 100.0 * whole_s / slowest_s / _GAMES[_AT_PARITY], "%"),
            median_of("CPU time on the driver's node, a gradient", [one.driver_s / count * 1e3 for one in found], "ms"),
            median_of("CPU time on all other nodes, a gradient", [one.nodes_s / count * 1e3 for one in found], "ms"),
        ]
    return Result(figures)


def _held(cluster: SlotCluster, count: int) -> list[OnNode]:
    """Gradients in the object stores of the nodes, in a stretch of indices each, as the pool deals them out."""
    of_node = {node: hosts[0].hold.remote(count // len(cluster.hosts)) for node, hosts in cluster.hosts.items()}
    held = {node: ray.get(references, timeout=_TIMEOUT_S) for node, references in of_node.items()}
    return [OnNode(reference, node) for node, references in held.items() for reference in references]


def _add_here(local: LocalCluster, held: list[OnNode]) -> Added:
    """As the driver does it on one machine."""
    waiting = {gradient.reference: index for index, gradient in enumerate(held)}
    total, adding_s = TreeSum(len(held)), 0.0
    held.clear()
    with _measured(local) as took:
        while waiting:  # as the pool does: Ray may bring all that is waited for, and lets go of what has been added
            ready, _ = ray.wait(list(waiting), timeout=_TIMEOUT_S)
            gradient, index = ray.get(ready[0], timeout=_TIMEOUT_S), waiting.pop(ready[0])
            fetched = time.perf_counter()
            total.add(index, gradient)
            adding_s += time.perf_counter() - fetched
            del ready, gradient
    return Added(took[0], took[1], took[2], adding_s)


def _add_there(local: LocalCluster, reducer: RemoteReducer, state: State, held: list[OnNode]) -> Added:
    """As the driver has it done on a cluster."""
    total: RemoteSum | None = reducer.begin(state.update + 1, len(held), state.weights)
    assert total, "the nodes' object stores are too small"
    with _measured(local) as took:
        for index, gradient in enumerate(held):
            total.add(index, gradient)
        assert total.total(), "a sum is lost"
    return Added(took[0], took[1], took[2], adding_s=0.0)


@contextmanager
def _measured(local: LocalCluster) -> Iterator[list[float]]:
    """Seconds until the block ends; CPU time on the driver's node; CPU time on the others."""
    took: list[float] = []
    began, driver_s, (head_s, *nodes_s) = time.perf_counter(), time.process_time(), map(_cpu_s, local.raylets)
    yield took
    took.append(time.perf_counter() - began)
    now_driver_s, (now_head_s, *now_nodes_s) = time.process_time(), map(_cpu_s, local.raylets)
    took += [now_driver_s - driver_s + now_head_s - head_s, sum(now_nodes_s) - sum(nodes_s)]


def _cpu_s(raylet: int) -> float:
    """CPU time of a node's raylet and of all that it started."""
    process = psutil.Process(raylet)
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return float(sum(one.user + one.system for one in times))


@contextmanager
def _cluster(nodes: int) -> Iterator[LocalCluster]:
    """A cluster of so many nodes beside the head, which this process joins."""
    with LocalCluster(nodes, store_bytes=_STORE_BYTES) as cluster, connect(cluster.address, None):
        yield cluster


def _record(count: int, hidden_units: int) -> tuple[State, Recorded, list[float]]:
    """Rollouts of update 2, and the seconds that each takes here while nothing else is done.

    Not of update 1: in that, each gradient is compared with a float64 sum, and is added by the driver therefore.
    """
    settings = _reinforce(hidden_units=hidden_units)
    state = dataclasses.replace(initial_state.from_seed(settings), update=1)
    batch, game, recorded, times_s = new_batch(settings, state), Pong(), [], []
    for index in range(count):
        began = time.perf_counter()
        recorded.append(batch.task.run(game, state.weights, RolloutId(settings.seed, batch.update, index)))
        times_s.append(time.perf_counter() - began)
    return state, recorded, times_s


def _reinforce(**changes: Any) -> Settings:
    """The preset whose rollouts are the largest to send: a gradient each."""
    return of_preset(REINFORCE, **changes)
