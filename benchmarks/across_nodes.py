"""What it takes to add gradients that lie in other nodes' object stores: in the driver, and where they lie.

python -m benchmarks.run --only across-nodes
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

import psutil
import ray

from benchmarks.figures import Figure, Result, median_of
from benchmarks.stand_ins import AT_PARITY, GAMES, SlotCluster, cluster_of, record
from benchmarks.updates import Listener
from bitexact.cluster.ray_cluster import OnNode
from bitexact.cluster.remote_sum import RemoteReducer, RemoteSum
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage.state import State
from workload.local_cluster import LocalCluster

_TIMEOUT_S = 120.0


class Added(NamedTuple):
    """What it took to add some gradients."""

    wall_s: float
    driver_s: float  # CPU time of the driver and of its node's raylet
    nodes_s: float  # CPU time of all other nodes
    adding_s: float  # of `wall_s`, in the driver


class Held(NamedTuple):
    """A gradient in a node's object store, and its arrays' fingerprints."""

    gradient: OnNode
    names: dict[str, str]


def measure(smallest: bool) -> Result:
    """Add gradients that lie in other nodes' object stores, with nothing else to wait for: in the driver and there."""
    nodes, count, hidden_units, rounds = (2, 6, 8, 1) if smallest else (3, 300, 200, 3)
    state, recorded, times_s = record(1 if smallest else 10, hidden_units)
    here, there = [], []
    with cluster_of(nodes) as local:
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
            Figure("of one as long as at parity", 100.0 * whole_s / slowest_s / GAMES[AT_PARITY], "%"),
            median_of("CPU time on the driver's node, a gradient", [one.driver_s / count * 1e3 for one in found], "ms"),
            median_of("CPU time on all other nodes, a gradient", [one.nodes_s / count * 1e3 for one in found], "ms"),
        ]
    return Result(figures)


def _held(cluster: SlotCluster, count: int) -> list[Held]:
    """Gradients in the object stores of the nodes, in a stretch of indices each, as the pool deals them out."""
    of_node = {node: hosts[0].hold.remote(count // len(cluster.hosts)) for node, hosts in cluster.hosts.items()}
    held = {node: ray.get(references, timeout=_TIMEOUT_S) for node, references in of_node.items()}
    return [Held(OnNode(reference, node), names) for node, here in held.items() for reference, names in here]


def _add_here(local: LocalCluster, held: list[Held]) -> Added:
    """As the driver does it on one machine."""
    waiting = {one.gradient.reference: index for index, one in enumerate(held)}
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


def _add_there(local: LocalCluster, reducer: RemoteReducer, state: State, held: list[Held]) -> Added:
    """As the driver has it done on a cluster."""
    total: RemoteSum | None = reducer.begin(state.update + 1, len(held), state.weights)
    assert total, "the nodes' object stores are too small"
    with _measured(local) as took:
        for index, (gradient, names) in enumerate(held):
            total.add(index, gradient, names)
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
