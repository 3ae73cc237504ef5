"""Many actors on few CPUs: the real pool and driver's parts, with stand-ins that return recorded gradients.

    python -m benchmarks.run --only many-actors

What is compared is the time of an update with the time it would take if the driver and the way to it cost nothing: the
same rollouts on as many actors. The stand-ins: stand_ins.py.
"""

import heapq
import time
from statistics import median
from typing import Any, NamedTuple

from benchmarks.driver_work import Recorded
from benchmarks.figures import Figure, Result
from benchmarks.stand_ins import GAMES, SlotCluster, cluster_of, record, reinforce
from benchmarks.updates import Listener
from bitexact.cluster.interface import PoolSettings
from bitexact.cluster.pool import Pool
from bitexact.cluster.remote_sum import RemoteReducer
from bitexact.storage.state import State
from training.loop import arrivals
from training.update import new_batch

_PUBLISHED = {10: (64, 2.5), 60: (64, 3.0), 300: (198, 10.0)}  # batch: cores, seconds (Ray, "Learning to Play Pong")
_PATIENCE_S = 600.0  # results wait for their turn to be sent: none is to be computed a second time for it


class Setting(NamedTuple):
    """So many actors, the batch that they share, and how often it is timed."""

    actors: int
    batch_size: int
    rounds: int


_SETTINGS = [Setting(64, 60, 3), Setting(198, 300, 3), Setting(1000, 3000, 1)]


def measure(smallest: bool) -> Result:
    """Updates of several sizes, with recorded games of the beginning and with games as long as those at parity."""
    nodes, settings = (1, [Setting(3, 4, 1)]) if smallest else (3, _SETTINGS)
    state, recorded, times_s = record(2 if smallest else 10, 8 if smallest else 200)
    figures, points = [], []
    with cluster_of(nodes):
        for setting in settings:
            for name, longer in GAMES.items():
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
    settings = reinforce(batch_size=setting.batch_size, hidden_units=state.weights["W2"].size)
    seconds = []
    try:
        pool.wait_until_ready()
        for _ in range(rounds):
            began = time.monotonic()
            batch = new_batch(settings, state, reducer)
            for gradient, rollout_record in arrivals(pool, batch, state.weights):
                batch.add(gradient, rollout_record)
            batch.learn()
            seconds.append(time.monotonic() - began)
    finally:
        reducer.give_up()
        cluster.close()
    return seconds
