"""The pool on a simulated cluster: whatever happens, each item counts once, and from the current shared value.

The property test plays scenarios in which anything may happen at any time; `play` is the oracle, and but for
`check_what_is_kept` it knows nothing of how the pool works. Planted bugs show that it would notice. The directed tests
state one behaviour each.
"""

import hashlib
import itertools
import math
from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache
from random import Random
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from simulated_cluster import DIES, NEVER, RAISES, Script, SimulatedCluster, Stopped, Ticket

from bitexact.cli.exits import BadInput, ClusterLost
from bitexact.cluster.actors import LONGEST_RESTART_DELAY_S, RESTART_DELAY_S, Actors
from bitexact.cluster.deadlines import MOST_DOUBLINGS, RECENT_ITEMS, Attention, Deadlines
from bitexact.cluster.interface import Damaged, Duplicate, PoolSettings, ResultLost, SharedDamaged
from bitexact.cluster.pool import Pool
from bitexact.cluster.work_queue import Item
from bitexact.determinism.digests import digest
from bitexact.determinism.tree_sum import TreeSum

# ---- the work --------------------------------------------------------------------------------------------------


class Key(NamedTuple):
    """Names an item."""

    batch: int
    index: int

    def __str__(self) -> str:
        return f"{self.batch}.{self.index}"


class Value(NamedTuple):
    """What an execution gives: from what, of what, and bytes that follow from both."""

    shared: Any
    key: Key


class Record(NamedTuple):
    """What comes with it."""

    digest: str


def compute(task: Any, shared: Any, key: Key) -> tuple[Value, Record]:
    assert task == "gradient"
    return Value(shared, key), Record(digest(gradient(shared, key.index)))


@cache
def gradient(shared: Any, index: int) -> dict[str, np.ndarray]:
    """Of many magnitudes, so that the order of additions shows in the bits."""
    words = np.frombuffer(hashlib.sha512(f"{shared} {index}".encode()).digest(), np.int16)
    return {"a": (words[:16] * 10.0 ** (words[16:] % 7)).astype(np.float32)}


def sum_of(shared: Any, indices: list[int]) -> str:
    """The digest of the sum over a batch whose results arrive in this order."""
    tree = TreeSum(len(indices))
    for index in indices:
        tree.add(index, gradient(shared, index))
    return digest(tree.total())


# ---- the oracle ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """A script, what the pool is asked to do, and how long its caller takes over each result."""

    script: Script = field(default_factory=Script)
    batches: tuple[int, ...] = (4, 4)
    same_keys: bool = False  # in all batches
    caller_s: tuple[float, ...] = (0.0,)
    settings: PoolSettings = field(default_factory=lambda: PoolSettings(at_most=4))

    @property
    def most_actors(self) -> int:
        return self.settings.actors or self.settings.at_most

    def keys(self, batch: int) -> list[Key]:
        return [Key(0 if self.same_keys else batch, index) for index in range(self.batches[batch])]


def start(scenario: Scenario, pool_class: type[Pool] = Pool) -> tuple[SimulatedCluster, Pool]:
    cluster = SimulatedCluster(compute, scenario.script, scenario.most_actors)
    return cluster, pool_class(cluster, scenario.settings, cluster.listener)


def play(scenario: Scenario, pool_class: type[Pool] = Pool) -> None:
    """Run a scenario to its end, which must be as the script allows, and check all that can be known of it."""
    cluster, pool = start(scenario, pool_class)
    counts: Counter[str] = Counter()
    most = scenario.settings.most_executions
    try:
        pool.wait_until_ready()
        for batch in range(len(scenario.batches)):
            play_batch(scenario, batch, cluster, pool)
            check_what_is_kept(scenario, batch, cluster, pool)
            counts += pool.take_counts()
    except ClusterLost as end:
        if "was begun" in str(end):
            begun = max(Counter(ticket.item for ticket in cluster.submitted).values())
            assert begun == most, f"given up after {begun} executions"
            return
        if "has not answered" in str(end):
            silent_s = cluster.counted_time - cluster.heard_at
            assert silent_s > scenario.settings.cluster_timeout_s - 1.0, f"lost after only {silent_s} s of silence"
            return
        without_actor_s = cluster.pool_time - cluster.ready_at
        assert without_actor_s > scenario.settings.cluster_timeout_s - 1.0, f"lost after only {without_actor_s} s"
    except BadInput:
        assert not cluster.taken, "work has been done: the nodes that did it may come back"
        usable = [node for node in cluster.usable(cluster.told) if node.id not in cluster.raised]
        assert not usable, "refused, although there is a node that may be used"
    executed = Counter(ticket.item for ticket in cluster.submitted)
    assert max(executed.values(), default=0) <= most, "an item is begun without limit"
    check_duplicates(cluster, pool)
    check_counts(cluster, counts + pool.take_counts())


def play_batch(scenario: Scenario, batch: int, cluster: SimulatedCluster, pool: Pool) -> None:
    keys = scenario.keys(batch)
    arrived: list[Key] = []
    for key, value in pool.run("gradient", batch, keys):
        assert value == compute("gradient", batch, key), f"{value} is not of batch {batch} or not of item {key}"
        assert key not in arrived, f"{key} counts twice"
        arrived.append(key)
        cluster.caller_works(scenario.caller_s[len(cluster.taken) % len(scenario.caller_s)])
    assert sorted(arrived) == keys, f"of {keys} came {arrived}"
    order = [key.index for key in arrived]
    assert sum_of(batch, order) == sum_of(batch, sorted(order)), f"another sum in order {order}"


def check_what_is_kept(scenario: Scenario, batch: int, cluster: SimulatedCluster, pool: Pool) -> None:
    """Between batches the pool remembers its actors, what they are still at, and nothing that grows."""
    executing = {actor.ticket for actor in cluster.kept if actor.greeted and actor.busy}
    assert {actor.handle for actor in pool._actors.all} == set(cluster.kept), "actors are forgotten, or kept in vain"
    assert set(pool._executions) == executing, "executions are forgotten, or kept in vain"
    assert not pool._missing, "items are kept in vain"
    assert not pool._waiting, "items are kept in vain"
    may_come_late = {execution.item for execution in pool._executions.values()}
    assert set(pool._digests) <= may_come_late, "digests are kept in vain"
    assert len(pool._lost_on) <= scenario.batches[batch], "losses are kept in vain"
    assert len(pool._deadlines.kills) <= scenario.batches[batch] + scenario.most_actors, "kills are kept in vain"
    assert len(pool._deadlines.recent_s) <= RECENT_ITEMS
    nodes = {node.id for node in cluster.told}
    actors = pool._actors
    assert set(actors.start_after) | actors.refused | set(actors.nodes) <= nodes, "nodes are kept in vain"


def check_counts(cluster: SimulatedCluster, counts: Counter[str]) -> None:
    """What is counted is what was told, and what happened."""
    listener = cluster.listener
    begun = Counter(ticket.item for ticket in cluster.submitted)
    expected = {
        "actors_lost": len(listener.told("actor ", " is lost: ")) + len(listener.told("could not start")),
        "actors_killed": len(listener.told("actor ", " is killed: ")),
        "nodes_joined": len(listener.told("node ", " joined with ")),
        "nodes_lost": len(listener.told("node ", " is gone")) - len(listener.told("its node is gone")),
        "damaged": sum(cluster.damaged.values()),
        "raced": len(listener.told("a second time elsewhere")),
        "late_duplicates": len(listener.told("compared and dropped")),
        "redispatched": sum(times - 1 for times in begun.values()),
    }
    for name, count in expected.items():
        assert counts[name] == count, f"{name}: counted {counts[name]}, happened {count}"
    moved = any(len(nodes) > 1 for nodes in nodes_of_items(cluster).values())
    assert moved <= counts["moved"] <= moved * counts["redispatched"], f"moved: counted {counts['moved']}"


def nodes_of_items(cluster: SimulatedCluster) -> dict[Any, set[str]]:
    nodes: dict[Any, set[str]] = {}
    for ticket in cluster.submitted:
        nodes.setdefault(ticket.item, set()).add(ticket.actor.node.id)
    return nodes


def check_duplicates(cluster: SimulatedCluster, pool: Pool) -> None:
    """Each result after an item's first was compared with the first."""
    first: dict[Any, str] = {}
    expected = []
    for ticket in cluster.taken:
        name = ticket.outcome[1].digest
        if ticket.item in first:
            expected.append(Duplicate(ticket.key, first[ticket.item], name))
        first.setdefault(ticket.item, name)
    assert pool.take_duplicates() == expected, "a second result was not compared with the first"


# ---- whatever happens ------------------------------------------------------------------------------------------

FAULTS = (
    "kill",
    "freeze",
    "stall",
    "stall",
    "thaw",
    "freeze_node",
    "thaw_node",
    "lose_result",
    "damage",
    "lose_shared",
    "leave",
    "join",
    "spoil",
    "stand_still",
    "silence",
)
some_faults = st.tuples(
    st.sampled_from([0.0, 0.6, 1.1, 1.7, 2.5, 3.3, 4.0, 5.2, 6.0, 8.0, 11.0, 13.0, 19.0, 25.0, 60.0]),
    st.sampled_from(FAULTS),
    st.integers(0, 30),
)
scripts = st.builds(
    Script,
    nodes=st.lists(st.sampled_from([2, 1, 3, 0]), min_size=1, max_size=4).map(tuple),
    starts=st.lists(st.sampled_from([1.0, 0.0, 4.0, DIES, RAISES, NEVER]), max_size=5).map(tuple),
    durations=st.lists(st.sampled_from([1.0, 0.0, 0.3, 3.0, 3.0, 9.0, 15.0, 50.0, NEVER]), max_size=12).map(tuple),
    places=st.lists(st.integers(0, 5), max_size=5).map(tuple),
    faults=st.lists(some_faults, max_size=14).map(tuple),
)
some_settings = st.builds(
    PoolSettings,
    actors=st.sampled_from([None, 1, 2, 5]),
    at_most=st.integers(1, 6),
    item_timeout_s=st.sampled_from([None, 2.0, 10.0]),
    cluster_timeout_s=st.sampled_from([20.0, 120.0]),
    most_executions=st.sampled_from([20, 20, 3]),
)
scenarios = st.builds(
    Scenario,
    script=scripts,
    batches=st.lists(st.integers(1, 10), min_size=1, max_size=5).map(tuple),
    same_keys=st.booleans(),
    caller_s=st.lists(st.sampled_from([0.0, 0.2, 7.0, 150.0]), min_size=1, max_size=3).map(tuple),
    settings=some_settings,
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(scenarios)
def test_whatever_happens_each_item_counts_once(scenario):
    play(scenario)


# ---- planted bugs ----------------------------------------------------------------------------------------------


class CountsLateResults(Pool):
    def _count(self, execution: Any, value: Any) -> list[Any]:
        return super()._count(execution, value) or [(execution.item.key, value)]


class LosesTheDeadsItems(Pool):
    def _again(self, execution: Any, reason: str) -> bool:
        self._missing.discard(execution.item)
        return False


class WaitsForTheDead(Pool):
    def _again(self, execution: Any, reason: str) -> bool:
        return False


class HandsOutTheFirstValue(Pool):
    def run(self, task: Any, shared: Any, keys: Any) -> Any:
        self._first = getattr(self, "_first", shared)
        yield from super().run(task, self._first, keys)


class TakesLateResultsForThisBatch(Pool):
    def run(self, task: Any, shared: Any, keys: Any) -> Any:
        self._batch = 0
        yield from super().run(task, shared, keys)


class DropsWithoutComparing(Pool):
    def _count(self, execution: Any, value: Any) -> list[Any]:
        if execution.item in self._missing:
            return super()._count(execution, value)
        self._digests.pop(execution.item, None)
        return []


class KeepsDigests(Pool):
    class Digests(dict):
        def __delitem__(self, item: Any) -> None:
            pass

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._digests = self.Digests()


class BeginsWithoutLimit(Pool):
    def __init__(self, cluster: Any, pool_settings: PoolSettings, listener: Any) -> None:
        super().__init__(cluster, replace(pool_settings, most_executions=999), listener)


class WithActors(Pool):
    """A pool whose actors are kept by another class."""

    actors_class: type[Actors]

    def __init__(self, cluster: Any, pool_settings: PoolSettings, listener: Any) -> None:
        super().__init__(cluster, pool_settings, listener)
        self._actors.__class__ = self.actors_class


class TakesSilenceForLoss(WithActors):
    class actors_class(Actors):  # noqa: N801
        def _expect_an_answer(self) -> None:
            raise ClusterLost("the cluster has not answered")


class RacesWithoutLimit(Pool):
    def _may_race(self, item: Any) -> bool:
        return item in self._missing and item not in self._waiting


class ToleratesTheFrozen(Pool):
    class Deadlines(Deadlines):
        def of(self, item: Any) -> float:
            return math.inf

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._deadlines.__class__ = self.Deadlines


class HasNoPatienceWithItself(Pool):
    class Attention(Attention):
        def absent_s(self, now: float) -> float:
            return 0.0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._attention.__class__ = self.Attention


class LeavesTheLostRunning(WithActors):
    class actors_class(Actors):  # noqa: N801
        def forget(self, actor: Any, reason: str) -> str:
            self.all.remove(actor)
            return self._release(actor, reason)


class OverfillsNodes(WithActors):
    class actors_class(Actors):  # noqa: N801
        def roomiest_node(self, now: float) -> Any:
            return super().roomiest_node(now) or next(iter(self.nodes.values()), None)


class OverloadsActors(Pool):
    def _dispatch(self) -> None:
        executions, self._executions = self._executions, {}
        super()._dispatch()
        self._executions |= executions


class DoesNotRestart(WithActors):
    class actors_class(Actors):  # noqa: N801
        def wanted(self) -> int:
            return 0 if self.started else super().wanted()


class GivesUpEarly(Pool):
    def __init__(self, cluster: Any, pool_settings: PoolSettings, listener: Any) -> None:
        super().__init__(cluster, replace(pool_settings, cluster_timeout_s=5.0), listener)


class CountsRacesTwice(Pool):
    def _race(self, execution: Any, age_s: float) -> None:
        self._counts["raced"] += 1
        super()._race(execution, age_s)


PLANTED = {
    CountsLateResults: "counts twice",
    LosesTheDeadsItems: "came",
    WaitsForTheDead: "does not end",
    HandsOutTheFirstValue: "is not of batch",
    TakesLateResultsForThisBatch: "is not of batch",
    DropsWithoutComparing: "was not compared",
    KeepsDigests: "digests are kept in vain",
    BeginsWithoutLimit: "begun without limit",
    TakesSilenceForLoss: "lost after only",
    RacesWithoutLimit: "more than twice at once",
    ToleratesTheFrozen: "does not end",
    HasNoPatienceWithItself: "lost after only",
    LeavesTheLostRunning: "may hold their CPUs",
    OverfillsNodes: "more actors than CPUs",
    OverloadsActors: "which is busy",
    DoesNotRestart: "room for an actor, and none starts",
    GivesUpEarly: "lost after only",
    CountsRacesTwice: "raced: counted",
}


def complaint(scenario: Scenario, pool_class: type[Pool]) -> str:
    try:
        play(scenario, pool_class)
    except AssertionError as failure:
        return str(failure)
    return ""


@pytest.mark.parametrize(("planted", "expected"), PLANTED.items(), ids=lambda case: getattr(case, "__name__", None))
def test_a_planted_bug_is_found(planted, expected):
    first_found = settings(max_examples=10_000, phases=[Phase.generate], deadline=None, database=None)
    find(
        scenarios,
        lambda scenario: expected in complaint(scenario, planted),
        settings=first_found,
        random=Random(0),
    )


# ---- one thing at a time ---------------------------------------------------------------------------------------


def pool_on(script: Script, **pool_settings: Any) -> tuple[SimulatedCluster, Pool]:
    """A pool with a time limit of 10 s an item and 20 s for the cluster, unless told otherwise."""
    limits = {"at_most": 4, "item_timeout_s": 10.0, "cluster_timeout_s": 20.0}
    return start(Scenario(script, settings=PoolSettings(**limits | pool_settings)))


def keys(count: int, batch: int = 0) -> list[Key]:
    return [Key(batch, index) for index in range(count)]


def run(pool: Pool, count: int, batch: int = 0) -> list[Key]:
    """Have a batch computed, and check the values; the keys in order of arrival."""
    arrived = []
    for key, value in pool.run("gradient", batch, keys(count, batch)):
        assert value == compute("gradient", batch, key)
        arrived.append(key)
    assert sorted(arrived) == keys(count, batch)
    return arrived


def executions_of(cluster: SimulatedCluster, key: Key) -> list[Ticket]:
    return [ticket for ticket in cluster.submitted if ticket.key == key]


def test_results_come_in_order_of_arrival():
    cluster, pool = pool_on(Script(nodes=(3,), durations=(3.0, 1.0, 2.0)))
    assert run(pool, 3) == [(0, 1), (0, 2), (0, 0)]
    assert not cluster.listener.events


def test_an_empty_batch_yields_nothing():
    _, pool = pool_on(Script())
    assert run(pool, 0) == []


def test_an_actor_that_is_done_gets_more_work_before_the_caller_sees_the_result():
    cluster, pool = pool_on(Script(nodes=(1,)))
    results = pool.run("gradient", 0, keys(2))
    next(results)
    assert [ticket.begun for ticket in cluster.submitted] == [1.0, 2.0]
    assert cluster.now() == 2.0


# ---- actors that die -------------------------------------------------------------------------------------------


def test_an_item_that_always_kills_its_actor_ends_the_run_with_what_was_seen():
    cluster, pool = pool_on(Script(nodes=(1, 1)), most_executions=4)
    submit = cluster.submit

    def deadly(actor: Any, task: Any, shared: Any, key: Key) -> Ticket:
        ticket = submit(actor, task, shared, key)
        if key.index == 2:
            cluster.at(cluster.now() + 0.5, cluster._die, actor)
        return ticket

    cluster.submit = deadly
    with pytest.raises(ClusterLost, match=r"rollout 0.2 was begun 4 times and gave no result: . times it died on n"):
        run(pool, 5)
    assert len(executions_of(cluster, Key(0, 2))) == 4
    assert pool.take_most_executions() == 4
    assert pool.take_most_executions() == 0


@pytest.mark.parametrize("fault", ["lose_result", "lose_shared"])
def test_lost_results_and_lost_weights_count_as_executions(fault):
    cluster, pool = pool_on(Script(nodes=(1,)), most_executions=3)
    for second in range(99):
        cluster.at(1.5 + second, getattr(cluster, fault), 0)
        cluster.at(1.05 + 0.1 * second, getattr(cluster, fault), 0)
    with pytest.raises(ClusterLost, match=r"rollout 0.0 was begun 3 times and gave no result: 3 times .* lost"):
        run(pool, 1)


def test_what_a_dead_actor_was_doing_runs_again_and_one_line_says_so():
    cluster, pool = pool_on(Script(nodes=(1, 1), durations=(5.0, 2.0), faults=((1.5, "kill", 0),)))
    run(pool, 2)
    assert cluster.listener.events == [
        "actor 0 on n1 is lost: it died; rollout 0.0 runs again, and it is replaced while there is room"
    ]
    assert cluster.listener.kinds == [("actor_lost", {"actor": 0, "node": "n1"})]
    assert pool.take_counts() == Counter(actors_lost=1, redispatched=1)
    assert [ticket.actor.number for ticket in executions_of(cluster, (0, 0))] == [0, 2]
    assert cluster.actors[2].node.name == "n1"


def test_what_runs_again_on_another_node_has_moved():
    cluster, pool = pool_on(Script(nodes=(1, 1), durations=(5.0, 0.6), faults=((1.5, "kill", 0),)))
    run(pool, 2)
    assert [ticket.actor.node.name for ticket in executions_of(cluster, (0, 0))] == ["n1", "n0"]
    assert pool.take_counts()["moved"] == 1


def test_how_long_actors_worked_is_said_once_in_the_mean_of_those_there_are():
    _, pool = pool_on(Script(nodes=(1, 1), durations=(3.0, 2.0, 4.0)))
    run(pool, 3)
    assert pool.take_busy_s() == pytest.approx((3.0 + 2.0 + 4.0) / 2)
    assert pool.take_busy_s() == 0.0


def test_counts_are_handed_over_once():
    _, pool = pool_on(Script(faults=((1.5, "kill", 0),)))
    run(pool, 2)
    assert pool.take_counts()["actors_lost"] == 1
    assert not pool.take_counts()


def test_an_actor_that_died_idle_is_noticed_when_it_is_to_work():
    cluster, pool = pool_on(Script(nodes=(1,)))
    run(pool, 1)
    cluster.kill(0)
    run(pool, 1, batch=1)
    assert cluster.listener.events == [
        "actor 0 on n0 is lost: it died while idle; rollout 1.0 runs again, and it is replaced while there is room"
    ]


def test_a_node_on_which_an_actor_could_not_start_gets_the_next_one_later():
    cluster, pool = pool_on(Script(nodes=(1,), starts=(DIES, DIES)))
    run(pool, 1)
    assert waits_between_starts(cluster) == [RESTART_DELAY_S, 2 * RESTART_DELAY_S]
    assert pool.take_counts() == Counter(actors_lost=2)


def waits_between_starts(cluster: SimulatedCluster) -> list[float]:
    """Seconds from each start that failed to the next, to the pool's half second."""
    return [later.begun - earlier.begun - 0.5 for earlier, later in itertools.pairwise(cluster.greetings)]


@pytest.mark.parametrize("fails", [DIES, RAISES])
def test_a_node_that_fails_again_and_again_is_tried_less_and_less_often(fails):
    cluster, pool = pool_on(Script(nodes=(1, 1), starts=(1.0,) + (fails,) * 99), item_timeout_s=None)
    cluster.takes_s = lambda ticket: 50.0
    run(pool, 10)
    waits_s = [0.0, *waits_between_starts(cluster)[1:]]
    assert all(later >= earlier for earlier, later in itertools.pairwise(waits_s))
    assert waits_s[-1] == LONGEST_RESTART_DELAY_S
    assert len(cluster.actors) < 15


def test_what_an_actor_raises_while_it_starts_is_its_nodes_refusal_with_the_cause():
    cluster, pool = pool_on(Script(nodes=(1, 1), starts=(RAISES,)))
    run(pool, 9)
    assert cluster.listener.events == [
        "node n1 is refused: actor 0 on n1 could not start (OSError: no room); it is tried again in 2 s"
    ]
    assert pool.describe() == "1 actor on n0 (1 CPU), 1 actor on n1 (1 CPU)"
    assert pool.take_counts() == Counter(actors_lost=1)


def test_when_actors_raise_on_all_nodes_before_anything_was_computed_that_is_bad_input():
    cluster, pool = pool_on(Script(nodes=(2, 1), starts=(RAISES,) * 9))
    with pytest.raises(BadInput, match=r"no node can be used: on n. an actor could not start: OSError: no room\."):
        pool.wait_until_ready()
    assert cluster.now() == 0.5


def test_an_actor_that_is_never_ready_is_killed_and_replaced():
    cluster, pool = pool_on(Script(nodes=(1,), starts=(NEVER,)), cluster_timeout_s=100.0)
    run(pool, 1)
    assert 60.0 < cluster.actors[0].stopped_at <= 61.0
    assert cluster.listener.told("actor 0 on n0 is killed: not ready after 60 s")


def test_an_actor_whose_greeting_is_lost_is_replaced():
    cluster, pool = pool_on(Script(nodes=(1,)))
    cluster.at(0.5, lambda: setattr(cluster.actors[0].ticket, "fate", ResultLost("no answer")))
    run(pool, 1)
    assert cluster.actors[0].stopped
    assert cluster.listener.told("actor 0 on n0 is lost: no answer")


# ---- actors that are slow, or frozen ---------------------------------------------------------------------------


def test_what_a_frozen_actor_was_doing_is_raced_after_its_deadline():
    cluster, pool = pool_on(Script(faults=((1.5, "freeze", 0),)))
    run(pool, 2)
    first, second = executions_of(cluster, (0, 0))
    assert 10.0 < second.begun - first.begun <= 10.5
    assert second.actor is not first.actor
    assert cluster.now() == second.begun + 1.0
    assert not first.actor.stopped
    assert cluster.listener.events == [
        "rollout 0.0 has taken 10 s on actor 0 on n0: it is started a second time elsewhere"
    ]
    assert cluster.listener.kinds == [("rollout_raced", {"actor": 0})]
    assert pool.take_counts() == Counter(raced=1, redispatched=1)


def test_a_frozen_actor_is_killed_after_twice_its_deadline_and_replaced():
    cluster, pool = pool_on(Script(nodes=(1,), faults=((1.5, "freeze", 0),)))
    run(pool, 1)
    first, second = executions_of(cluster, (0, 0))
    assert 20.0 < first.actor.stopped_at - first.begun <= 20.5
    assert second.actor.number == 1
    assert cluster.listener.told("actor 0 on n0 is killed: no answer for 20 s; it is replaced")
    assert pool.take_counts() == Counter(raced=1, actors_killed=1, redispatched=1)


def test_a_frozen_actor_is_killed_in_a_later_batch_as_well():
    cluster, pool = pool_on(Script(faults=((1.5, "freeze", 0),)))
    run(pool, 2)
    run(pool, 12, batch=1)
    assert 20.0 < cluster.actors[0].stopped_at - 1.0 <= 20.5
    assert cluster.listener.told("actor 0 on n0 is killed: no answer for 20 s; it is replaced while there is room")
    assert len(executions_of(cluster, (0, 0))) == 2


def test_an_answer_before_the_second_execution_begins_makes_it_needless():
    cluster, pool = pool_on(Script(nodes=(1,), durations=(15.0,)))
    run(pool, 2)
    run(pool, 1, batch=1)
    assert len(cluster.submitted) == 3
    assert pool.take_counts() == Counter(raced=1)


def test_a_late_answer_is_compared_and_dropped():
    cluster, pool = pool_on(Script(durations=(15.0,)))
    run(pool, 10)
    run(pool, 10, batch=1)
    name = compute("gradient", 0, Key(0, 0))[1].digest
    assert pool.take_duplicates() == [Duplicate(Key(0, 0), name, name)]
    assert not pool.take_duplicates()
    assert cluster.listener.told("rollout 0.0 came a second time from actor 0 on n0: compared and dropped")
    assert pool.take_counts()["late_duplicates"] == 1


def test_a_late_answer_that_differs_is_told_apart():
    cluster, pool = pool_on(Script(durations=(15.0,)))
    cluster._work = lambda task, shared, key: (key, Record(f"{key} {cluster.now() > 15.0}"))
    list(pool.run("gradient", 0, keys(20)))
    assert pool.take_duplicates() == [Duplicate(Key(0, 0), "0.0 False", "0.0 True")]


def test_a_late_answer_is_not_taken_for_the_same_item_of_a_later_batch():
    _, pool = pool_on(Script(durations=(15.0,)))
    assert [value.shared for _, (value, _) in pool.run("gradient", "old", keys(1))] == ["old"]
    assert [value.shared for _, (value, _) in pool.run("gradient", "new", keys(20))] == ["new"] * 20
    assert len(pool.take_duplicates()) == 1


def test_a_batch_given_up_leaves_nothing_to_the_next():
    cluster, pool = pool_on(Script(durations=(1.0, 2.0)))
    for _ in pool.run("gradient", "old", keys(10)):
        break
    assert [value.shared for _, (value, _) in pool.run("gradient", "new", keys(4))] == ["new"] * 4
    assert not cluster.listener.events


def test_a_race_whose_second_execution_dies_is_begun_again():
    cluster, pool = pool_on(Script(faults=((1.5, "freeze", 0), (12.0, "kill", 1))))
    run(pool, 2)
    assert [ticket.actor.number for ticket in executions_of(cluster, (0, 0))] == [0, 1, 2]
    assert pool.take_counts()["raced"] == 2
    assert not cluster.actors[0].stopped


def test_an_item_is_never_computed_by_three_although_deadlines_grow():
    cluster, pool = pool_on(Script(nodes=(4,), durations=(50.0, 9.0, 1.0, 1.0)), item_timeout_s=None)
    pool._deadlines.recent_s.append(1.0)
    cluster.takes_s = lambda ticket: 60.0 if ticket.key == (0, 0) else 9.5
    run(pool, 8)  # `submit` asserts it
    assert len(executions_of(cluster, (0, 0))) >= 2


def test_an_item_that_takes_far_longer_than_all_before_comes_to_an_end():
    cluster, pool = pool_on(Script(), item_timeout_s=None)
    cluster.takes_s = lambda ticket: 300.0 if ticket.key == (0, 4) else 1.0
    run(pool, 5)
    assert pool.take_counts()["actors_killed"] <= 10
    assert cluster.now() < 4 * 300.0


def test_a_pause_of_the_pools_own_process_is_not_held_against_the_actors():
    cluster, pool = pool_on(Script(faults=((1.5, "stand_still", 5),)))
    run(pool, 2)
    assert cluster.now() > 60.0
    assert not cluster.listener.events


def test_the_callers_time_is_not_held_against_the_actors():
    cluster, pool = pool_on(Script(nodes=(1,), durations=(1.0, 9.0, 9.0)))
    for _ in pool.run("gradient", 0, keys(3)):
        cluster.caller_works(100.0)
    assert not cluster.listener.events
    assert len(cluster.submitted) == 3


# ---- deadlines -------------------------------------------------------------------------------------------------


def test_the_first_deadline_is_long():
    _, pool = pool_on(Script(), item_timeout_s=None)
    assert pool._deadlines.usual_s() == 120.0


def test_the_deadline_is_four_times_the_longest_of_recent_items():
    _, pool = pool_on(Script(nodes=(1,), durations=(3.0, 7.0, 5.0)), item_timeout_s=None)
    run(pool, 3)
    assert pool._deadlines.usual_s() == pytest.approx(28.0)


def test_the_deadline_is_not_below_ten_seconds():
    _, pool = pool_on(Script(), item_timeout_s=None)
    run(pool, 4)
    assert pool._deadlines.usual_s() == 10.0


def test_what_long_past_items_took_is_forgotten():
    _, pool = pool_on(Script(durations=(7.0,)), item_timeout_s=None)
    run(pool, RECENT_ITEMS)
    assert pool._deadlines.usual_s() == pytest.approx(28.0)
    run(pool, RECENT_ITEMS, batch=1)
    assert pool._deadlines.usual_s() == 10.0


def test_a_deadline_that_is_set_stands():
    _, pool = pool_on(Script(durations=(7.0,)), item_timeout_s=2.5)
    assert pool._deadlines.usual_s() == 2.5
    run(pool, 4)
    assert pool._deadlines.usual_s() == 2.5


def test_late_answers_and_pauses_do_not_lengthen_the_deadline():
    faults = ((3.5, "freeze", 0), (19.5, "thaw", 0), (21.5, "stand_still", 5))
    _, pool = pool_on(Script(faults=faults), item_timeout_s=None)
    run(pool, 50)
    assert len(pool.take_duplicates()) == 1
    assert pool._deadlines.usual_s() == 10.0


def test_a_deadline_does_not_double_without_end():
    deadlines = Deadlines(10.0)
    item = Item(0, "gradient", Key(0, 0))
    for _ in range(99):
        deadlines.killed(item)
    assert deadlines.of(item) == 10.0 * 2**MOST_DOUBLINGS


# ---- what else gets lost ---------------------------------------------------------------------------------------


def test_what_gave_a_lost_result_runs_again_on_an_actor_that_stays():
    cluster, pool = pool_on(Script(nodes=(1,), faults=((1.5, "lose_result", 0),)))
    run(pool, 2)
    assert cluster.listener.events == ["the result of rollout 0.0 is lost (its node's store is full): it runs again"]
    assert len(cluster.actors) == 1
    assert pool.take_counts() == Counter(redispatched=1)


def test_a_lost_shared_value_is_shared_again_once():
    cluster, pool = pool_on(Script(nodes=(3,), durations=(3.0,), faults=((1.5, "lose_shared", 0),)))
    run(pool, 9)
    assert [shared.value for shared in cluster.shared] == [0, 0]
    assert cluster.listener.told("the weights are lost (its owner is gone): they are shared again")
    assert len(cluster.listener.told("shared again")) == 1
    assert len(cluster.listener.told("could not read the weights", "it runs again")) == 3
    assert pool.take_counts()["redispatched"] == 3


def test_a_shared_value_lost_twice_is_shared_a_third_time():
    cluster, pool = pool_on(Script(faults=((1.5, "lose_shared", 0), (4.5, "lose_shared", 0))))
    run(pool, 12)
    assert [shared.value for shared in cluster.shared] == [0, 0, 0]


def test_what_is_shared_again_is_the_value_of_the_batch():
    cluster, pool = pool_on(Script(nodes=(1,), faults=((4.5, "lose_shared", 0),)))
    for batch in range(2):
        run(pool, 3, batch)  # checks the values
    assert [shared.value for shared in cluster.shared] == [0, 1, 1]


def test_an_error_of_the_work_itself_ends_the_run_and_is_not_tried_again():
    cluster, pool = pool_on(Script())

    def fail(task: Any, shared: Any, key: Key) -> None:
        raise ZeroDivisionError("a bug")

    cluster._work = fail
    with pytest.raises(ZeroDivisionError, match="a bug"):
        run(pool, 1)
    assert len(cluster.submitted) == 1


def test_a_damaged_result_is_refused_said_counted_and_computed_again():
    cluster, pool = pool_on(Script(nodes=(1,), faults=((1.5, "damage", 0),)))
    run(pool, 2)
    assert cluster.listener.events == ["the result of rollout 0.0 from actor 0 on n0 is refused: W1"]
    assert pool.take_counts() == Counter(damaged=1, redispatched=1)


def test_a_node_that_delivers_damaged_results_repeatedly_is_refused_by_name():
    cluster, pool = pool_on(Script(nodes=(1, 1)))
    submit = cluster.submit

    def damaging(actor: Any, *arguments: Any) -> Ticket:
        ticket = submit(actor, *arguments)
        ticket.fate = Damaged("W1") if actor.node.name == "n1" else None
        return ticket

    cluster.submit = damaging
    run(pool, 12)
    assert cluster.listener.told("node n1 is refused: 3 values came damaged from it")
    assert pool.describe() == "1 actor on n0 (1 CPU)"
    assert pool.take_counts()["damaged"] == 3


def test_a_shared_value_that_comes_damaged_is_shared_again():
    cluster, pool = pool_on(Script(nodes=(1,)))
    cluster.at(1.5, lambda: setattr(cluster.actors[0].ticket, "fate", SharedDamaged("other bytes")))
    run(pool, 2)
    assert [shared.value for shared in cluster.shared] == [0, 0]
    assert pool.take_counts() == Counter(damaged=1, redispatched=1)


# ---- nodes that come and go ------------------------------------------------------------------------------------


def test_a_node_that_joins_brings_actors():
    cluster, pool = pool_on(Script(nodes=(1,), faults=((3.5, "join", 2),)), at_most=9)
    run(pool, 20)
    assert pool.describe() == "1 actor on n0 (1 CPU), 2 actors on n1 (2 CPUs)"
    assert cluster.listener.events == ["node n1 joined with 2 CPUs"]
    assert pool.take_counts() == Counter(nodes_joined=1)


def test_a_node_that_leaves_in_silence_takes_its_actors_along():
    cluster, pool = pool_on(Script(nodes=(1, 1), durations=(9.0,), faults=((3.2, "leave", 3),)))
    run(pool, 4)
    assert cluster.listener.events == [
        "node n1 is gone",
        "actor 0 on n1 is lost: its node is gone; rollout 0.0 runs again, and it is replaced while there is room",
    ]
    assert pool.take_counts() == Counter(nodes_lost=1, actors_lost=1, redispatched=1, moved=1)
    assert pool.describe() == "1 actor on n0 (1 CPU)"


def test_an_actor_whose_node_leaves_while_it_starts_is_replaced_elsewhere():
    cluster, pool = pool_on(Script(nodes=(1, 1), starts=(NEVER,), faults=((0.3, "leave", 3),)), actors=1)
    run(pool, 1)
    assert cluster.actors[0].stopped
    assert [actor.node.name for actor in cluster.actors] == ["n1", "n0"]


def test_the_last_node_that_comes_back_is_used_and_told_like_any_other():
    cluster, pool = pool_on(Script(nodes=(1,), faults=((3.5, "leave", 1), (15.0, "join", 2))))
    run(pool, 4)
    assert pool.describe() == "2 actors on n1 (2 CPUs)"
    assert cluster.listener.told("node n1 joined with 2 CPUs")
    counts = pool.take_counts()
    assert counts["nodes_lost"] == counts["nodes_joined"] == counts["actors_lost"] == counts["moved"] == 1


def test_without_nodes_it_says_what_it_waits_for_and_then_that_the_cluster_is_lost():
    cluster, pool = pool_on(Script(nodes=(1,), faults=((5.2, "leave", 0),)))
    with pytest.raises(ClusterLost, match=r"no actor could be started for 20 s: the cluster is lost\."):
        run(pool, 99)
    assert 25.2 <= cluster.now() <= 26.2
    assert len(cluster.listener.told("no actor left: waiting up to 20 s for a node with a free CPU")) == 1


def test_without_nodes_from_the_start_it_says_what_it_waits_for():
    cluster, pool = pool_on(Script(nodes=(0,)))
    with pytest.raises(ClusterLost):
        pool.wait_until_ready()
    assert 20.0 < cluster.now() <= 21.0
    assert cluster.listener.events == ["no actor yet: waiting up to 20 s for a node with a free CPU"]


def test_each_wait_for_nodes_is_told_and_has_its_own_limit():
    faults = ((1.5, "leave", 0), (18.0, "join", 1), (30.5, "leave", 0), (48.0, "join", 1))
    cluster, pool = pool_on(Script(nodes=(1,), faults=faults))
    run(pool, 20)
    assert len(cluster.listener.told("no actor left")) == 2


def test_an_only_actor_that_is_replaced_at_once_is_no_reason_to_wait_for_nodes():
    cluster, pool = pool_on(Script(nodes=(1,), faults=((1.5, "kill", 0),)))
    run(pool, 2)
    assert not cluster.listener.told("waiting up to")


def test_actors_that_cannot_start_do_not_keep_the_cluster_from_being_lost():
    cluster, pool = pool_on(Script(nodes=(1,), starts=(DIES,) * 99))
    with pytest.raises(ClusterLost):
        pool.wait_until_ready()
    assert 20.0 < cluster.now() <= 21.0


def test_a_long_rest_between_batches_does_not_lose_the_cluster():
    cluster, pool = pool_on(Script(nodes=(2,), faults=((1.9, "leave", 1), (1.95, "join", 1))), actors=1)
    cluster.at(2.0, cluster.kill, 0)
    run(pool, 1)
    cluster.caller_works(1_000.0)
    run(pool, 1, batch=1)


def test_it_is_ready_with_the_first_actor():
    cluster, pool = pool_on(Script(nodes=(3,), starts=(9.0, 4.0, NEVER)))
    pool.wait_until_ready()
    assert cluster.now() == 4.0
    assert pool.describe() == "3 actors on n0 (3 CPUs)"


# ---- a head that does not answer -------------------------------------------------------------------------------


def test_with_a_silent_head_training_goes_on_and_the_silence_has_a_limit():
    cluster, pool = pool_on(Script(nodes=(2,), faults=((3.2, "silence", 99),)))
    arrived = []
    with pytest.raises(ClusterLost, match=r"the cluster has not answered for 20 s: the cluster is lost\."):
        arrived += [key for key, _ in pool.run("gradient", 0, keys(99))]
    assert 23.0 <= cluster.now() <= 25.0
    assert len(cluster.taken) > 38, "actors that are there work on"
    assert cluster.listener.events == ["the cluster does not answer: the nodes known last stand, for up to 20 s"]


def test_a_head_that_answers_again_in_time_is_no_loss():
    cluster, pool = pool_on(Script(nodes=(1, 1), faults=((3.2, "silence", 15), (5.0, "kill", 0))))
    run(pool, 50)
    assert len(cluster.actors) == 3
    assert [line for line in cluster.listener.events if "answer" in line] == [
        "the cluster does not answer: the nodes known last stand, for up to 20 s",
        "the cluster answers again, after 16 s",
    ]


def test_a_head_that_is_slow_once_is_not_worth_a_word():
    cluster, pool = pool_on(Script(nodes=(2,), faults=((3.2, "silence", 3),)))
    run(pool, 20)
    assert not cluster.listener.events


# ---- nodes that are refused ------------------------------------------------------------------------------------


def test_a_refused_node_is_named_and_not_used():
    cluster, pool = pool_on(Script(nodes=(2, 2), faults=((0.0, "spoil", 1),)))
    run(pool, 8)
    assert {ticket.actor.node.name for ticket in cluster.submitted} == {"n0"}
    assert cluster.listener.events == ["node n1 is refused: its numpy is 1.0, not 2.0"]
    assert all(actor.stopped for actor in cluster.actors if actor.node.name == "n1")
    assert not pool.take_counts()


@pytest.mark.parametrize("without_cpus", [(), (0,), (0, 0)])
def test_when_all_nodes_are_refused_that_is_bad_input(without_cpus):
    cluster, pool = pool_on(Script(nodes=(1, 2, *without_cpus), faults=((0.0, "spoil", 0), (0.0, "spoil", 1))))
    with pytest.raises(BadInput, match=r"no node can be used: n. is refused: its numpy is 1.0, not 2.0\."):
        pool.wait_until_ready()
    assert cluster.now() == 1.0
    assert len(cluster.listener.told("is refused")) == 2


def test_what_a_refused_nodes_other_actors_were_doing_runs_again_elsewhere():
    cluster, pool = pool_on(Script(nodes=(1, 2), starts=(0.5, 1.5, 2.5), durations=(9.0,), faults=((1.0, "spoil", 1),)))
    run(pool, 4)
    assert [actor.node.name for actor in cluster.actors] == ["n1", "n1", "n0"]
    assert [ticket.actor.node.name for ticket in executions_of(cluster, (0, 0))] == ["n1", "n0"]
    assert pool.take_counts() == Counter(redispatched=1, moved=1)


def test_a_cluster_that_has_worked_is_waited_for_although_a_new_node_is_refused():
    faults = ((3.5, "leave", 0), (4.0, "join", 1), (4.0, "spoil", 0), (12.0, "join", 1))
    cluster, pool = pool_on(Script(nodes=(1,), faults=faults))
    run(pool, 9)
    assert cluster.listener.told("node n1 is refused")
    assert pool.describe() == "1 actor on n2 (1 CPU)"


def test_a_refused_node_that_left_is_forgotten():
    faults = ((0.0, "spoil", 1), (2.5, "leave", 2))
    cluster, pool = pool_on(Script(nodes=(1, 1), faults=faults))
    run(pool, 2)
    assert pool._actors.refused == {"n1"}
    run(pool, 2, batch=1)
    assert not pool._actors.refused
    assert not cluster.listener.told("is gone")


# ---- how many actors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pool_settings", "expected"),
    [
        ({"at_most": 9}, 4),
        ({"at_most": 3}, 3),
        ({"at_most": 3, "actors": 2}, 2),
        ({"at_most": 1, "actors": 4}, 4),
        ({"at_most": 1, "actors": 9}, 4),
    ],
)
def test_there_is_an_actor_for_each_cpu_within_the_limits(pool_settings, expected):
    cluster, pool = pool_on(Script(nodes=(3, 1)), **pool_settings)
    run(pool, 12)
    assert len(cluster.actors) == expected


def test_actors_are_spread_over_the_nodes():
    cluster, pool = pool_on(Script(nodes=(3, 3)), actors=4)
    run(pool, 4)
    assert Counter(actor.node.name for actor in cluster.actors) == {"n0": 2, "n1": 2}


def test_more_actors_than_items_are_no_harm():
    cluster, pool = pool_on(Script(nodes=(4,)), actors=4)
    for batch in range(3):
        run(pool, 1, batch)
    assert len(cluster.submitted) == 3
    assert not cluster.listener.events


# ---- which items go where --------------------------------------------------------------------------------------


def indices_on(cluster: SimulatedCluster) -> dict[str, list[int]]:
    """What was begun on each node, in this order."""
    found: dict[str, list[int]] = {}
    for ticket in cluster.submitted:
        found.setdefault(ticket.actor.node.name, []).append(ticket.key[-1])
    return found


@pytest.mark.parametrize(("nodes", "longest"), [((2, 2), 4), ((3, 1), 6), ((1, 1), 4)])
def test_neighbours_are_computed_on_one_node(nodes, longest):
    cluster, pool = pool_on(Script(nodes=nodes))
    pool.wait_until_ready()
    run(pool, 8)
    stretches = sorted(sorted(indices) for indices in indices_on(cluster).values())
    assert [index for stretch in stretches for index in stretch] == list(range(8))
    assert max(map(len, stretches)) == longest


def test_a_node_that_is_done_with_its_own_helps_the_other_from_the_end():
    cluster, pool = pool_on(Script(nodes=(1, 1), durations=(9.0,)))
    pool.wait_until_ready()
    run(pool, 8)
    slow, fast = sorted(indices_on(cluster).values(), key=len)
    assert slow == [slow[0]]
    own = list(range(4, 8) if slow == [0] else range(4))
    assert fast == own + ([3, 2, 1] if slow == [0] else [7, 6, 5])


def test_a_lost_item_is_the_next_on_whatever_node():
    cluster, pool = pool_on(Script(nodes=(1, 1), durations=(9.0, 1.0), faults=((2.5, "kill", 0),)))
    pool.wait_until_ready()
    run(pool, 8)
    lost = cluster.submitted[0]
    again = [ticket for ticket in cluster.submitted if ticket.key == lost.key][1]
    begun_before = [ticket for ticket in cluster.submitted if ticket.begun < 2.5]
    assert cluster.submitted.index(again) == len(begun_before)
    assert again.actor.node is not lost.actor.node


# ---- when it is to stop ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(Script(nodes=()), id="no node"),
        pytest.param(Script(starts=(NEVER,) * 9), id="starting"),
        pytest.param(Script(durations=(NEVER,) * 9), id="frozen"),
        pytest.param(Script(durations=(0.1,) * 999), id="busy"),
    ],
)
def test_an_interrupt_stops_it_within_a_second(script):
    cluster, pool = pool_on(script)
    cluster.listener.stop_at = 5.3
    with pytest.raises(Stopped):
        run(pool, 999)
    assert cluster.now() <= 6.3
    cluster, pool = pool_on(script)
    cluster.listener.stop_at = 0.3
    with pytest.raises(Stopped):
        pool.wait_until_ready()
    assert cluster.now() <= 1.3
