"""The pool: pure work items dispatched to actors until each has one result, whatever happens to actors and nodes.

    pool = Pool(cluster, PoolSettings(actors=None, at_most=10), listener)
    for key, (result, record) in pool.run(task, weights, keys):
        ...

It knows nothing of what the items compute, only that computing one twice gives the same bytes. So a lost item is
dispatched again, anywhere; one past its deadline is raced by a second execution, and the first result counts; an actor
past twice the deadline is killed and replaced, as a frozen one would hold its CPU for ever.

The pool knows no Ray either: it drives a `Cluster`, which is Ray's in `ray_cluster.py` and simulated in tests. Every
wait has a limit, and time is the cluster's.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from bitexact.cli.exits import ClusterLost
from bitexact.cluster.actors import Actor, Actors
from bitexact.cluster.attempts import Attempts
from bitexact.cluster.deadlines import Attention, Deadlines
from bitexact.cluster.interface import (
    ActorLost,
    Cluster,
    Damaged,
    Duplicate,
    Key,
    Listener,
    PoolSettings,
    ResultLost,
    SharedDamaged,
    SharedLost,
    Ticket,
)
from bitexact.cluster.work_queue import Item, WorkQueue

# What is counted of a batch, in metrics.jsonl under the same names.
COUNTED = (
    "redispatched",
    "raced",
    "late_duplicates",
    "damaged",
    "actors_lost",
    "actors_killed",
    "moved",
    "nodes_joined",
    "nodes_lost",
)

WAIT_S = 0.5  # the longest wait between two looks at deadlines, nodes and signals

Arrival = tuple[Key, Any]  # the pair of a result and its record


@dataclass(eq=False)
class Execution:
    """An item that an actor is at."""

    item: Item
    actor: Actor
    shared: Any
    since: float


class Pool:
    """Keeps actors on the nodes there are, and work on the actors."""

    def __init__(self, cluster: Cluster, settings: PoolSettings, listener: Listener) -> None:
        self._cluster, self._settings, self._listener = cluster, settings, listener
        self._counts: Counter[str] = Counter()
        self._duplicates: list[Duplicate] = []
        self._actors = Actors(cluster, settings, listener, self._counts, self._release)
        self._deadlines = Deadlines(settings.item_timeout_s)
        self._attention = Attention(cluster.now())
        self._executions: dict[Ticket, Execution] = {}
        self._batch = 0
        self._waiting = WorkQueue()
        self._missing: set[Item] = set()
        self._digests: dict[Item, str] = {}  # of items that may still come back a second time
        self._lost_on: dict[Item, str] = {}
        self._attempts = Attempts(settings.most_executions)
        self._busy_s = 0.0
        self._ready_at = cluster.now()  # when an actor was last ready
        self._said_that_it_waits = False

    # ---- what it is used for ----

    def run(self, task: Any, shared: Any, keys: Iterable[Key]) -> Iterator[Arrival]:
        """Do a task for each key, and yield (key, (result, record)) once each, in order of arrival."""
        self._batch += 1
        items = [Item(self._batch, task, key) for key in keys]
        self._waiting = WorkQueue(items, self._actors.by_node())
        self._missing = set(items)
        self._lost_on.clear()
        self._attempts.begin_batch()
        self._deadlines.begin_batch()
        self._shared_value, self._shared = shared, self._cluster.share(shared)
        while self._missing:
            yield from self._round()

    def take_counts(self) -> Counter[str]:
        """What happened since this was last asked."""
        counts = Counter(self._counts)
        self._counts.clear()
        return counts

    def take_duplicates(self) -> list[Duplicate]:
        """What was computed twice since this was last asked: results that must agree."""
        duplicates, self._duplicates = self._duplicates, []
        return duplicates

    def take_busy_s(self) -> float:
        """How long an actor has worked on what came since this was last asked, in the mean of those there are."""
        busy_s, self._busy_s = self._busy_s, 0.0
        return busy_s / max(1, len(self._actors.ready()))

    def take_most_executions(self) -> int:
        """How often the item was begun that was begun most often since this was last asked."""
        return self._attempts.take_most()

    def describe(self) -> str:
        """The nodes that were found, and how many actors each has: "2 actors on pong-worker-1/227b11 (4 CPUs)"."""
        return self._actors.describe()

    def wait_until_ready(self) -> None:
        """Return when the first actor is ready to work."""
        while not self._actors.ready():
            self._round()

    # ---- one round ----

    def _round(self) -> list[Arrival]:
        """Keep actors at work until something happens, and see to it. What arrived for the caller is returned."""
        self._listener.check_interrupt()
        self._forgive_absence()  # the caller's
        self._actors.keep()
        self._say_that_it_waits()
        self._dispatch()
        greetings = [actor.greeting for actor in self._actors.starting()]
        ready = self._cluster.wait([*self._executions, *greetings], WAIT_S)
        self._forgive_absence()  # this process's: it may have been stopped
        arrived = [arrival for ticket in ready for arrival in self._settle(ticket)]
        self._enforce_deadlines()  # before the caller works, as results that come meanwhile are not late
        self._dispatch()  # likewise: no actor waits for the caller
        return arrived

    def _say_that_it_waits(self) -> None:
        if not self._actors.all and not self._said_that_it_waits:
            self._said_that_it_waits = True
            self._listener.event(
                f"no actor {'left' if self._actors.started else 'yet'}: "
                f"waiting up to {self._settings.cluster_timeout_s:g} s for a node with a free CPU"
            )

    def _dispatch(self) -> None:
        busy = {execution.actor for execution in self._executions.values()}
        for actor in self._actors.ready():
            if not self._waiting:
                break
            if actor not in busy:
                self._submit(self._waiting.pop(actor.node.id), actor)

    def _submit(self, item: Item, actor: Actor) -> None:
        self._attempts.begin(item)
        if item in self._lost_on:
            self._counts["redispatched"] += 1
            if self._lost_on[item] != actor.node.id:
                self._counts["moved"] += 1
        ticket = self._cluster.submit(actor.handle, item.task, self._shared, item.key)
        self._executions[ticket] = Execution(item, actor, self._shared, self._cluster.now())

    # ---- results ----

    def _settle(self, ticket: Ticket) -> list[Arrival]:
        """Take a ticket's result in: a new one is returned, anything else dealt with."""
        execution = self._executions.pop(ticket, None)
        if execution is None:
            self._actors.greet(ticket, has_worked=bool(self._deadlines.recent_s))
            return []
        try:
            value = self._cluster.result(ticket)
        except ActorLost as loss:
            self._executions[ticket] = execution
            self._actors.give_up(execution.actor, str(loss))
        except SharedLost as loss:
            self._share_again(execution, loss)
        except Damaged as damage:
            self._listener.event(f"the result of rollout {execution.item} from {execution.actor} is refused: {damage}")
            self._again(execution, f"its result came damaged ({damage})")
            self._actors.blame(execution.actor.node)
        except ResultLost as loss:
            if self._again(execution, f"its result was lost ({loss})"):
                self._listener.event(f"the result of rollout {execution.item} is lost ({loss}): it runs again")
        else:
            return self._count(execution, value)
        return []

    def _share_again(self, execution: Execution, loss: SharedLost) -> None:
        if execution.shared is self._shared:  # else it has been shared again since
            self._shared = self._cluster.share(self._shared_value)
            self._listener.event(f"the weights are lost ({loss}): they are shared again")
        if self._again(execution, f"the weights were lost ({loss})"):
            where = f"{execution.item} could not read the weights on {execution.actor}"
            self._listener.event(f"rollout {where}: it runs again")
        if isinstance(loss, SharedDamaged):
            self._actors.blame(execution.actor.node)

    def _count(self, execution: Execution, value: Any) -> list[Arrival]:
        item, digest = execution.item, value[1].digest
        self._busy_s += self._cluster.now() - execution.since
        raced = self._running(item)
        if item in self._missing:
            self._missing.remove(item)
            # a late one's time says nothing of its work
            self._deadlines.completed(self._cluster.now() - execution.since)
            if item in self._waiting:  # its second execution has not begun
                self._waiting.remove(item)
            if raced:
                self._digests[item] = digest
            return [(item.key, value)]
        if item in self._digests:
            self._counts["late_duplicates"] += 1
            text = f"rollout {item} came a second time from {execution.actor}: compared and dropped"
            self._listener.event(text, "late_duplicate", actor=execution.actor.number)
            self._duplicates.append(Duplicate(item.key, self._digests[item], digest))
            if not raced:
                del self._digests[item]
        return []

    def _release(self, actor: Actor, reason: str) -> str:
        """Dispatch again what an actor was doing that has been stopped. Says what that was."""
        doing = [ticket for ticket, execution in self._executions.items() if execution.actor is actor]
        stopped = [self._executions.pop(ticket) for ticket in doing]
        again = [execution.item for execution in stopped if self._again(execution, reason)]
        return "".join(f"rollout {item} runs again, and " for item in again)

    def _again(self, execution: Execution, reason: str) -> bool:
        """Have a lost item computed again, if it is missing and nobody else is at it. Says whether it is."""
        item = execution.item
        if item in self._missing:
            self._attempts.fail(item, f"{reason} on {execution.actor.node.name}")
        if item not in self._missing or item in self._waiting or self._running(item):
            if not self._running(item):
                self._digests.pop(item, None)
            return False
        self._lost_on[item] = execution.actor.node.id
        self._waiting.appendleft(item)
        return True

    def _running(self, item: Item) -> int:
        return sum(execution.item == item for execution in self._executions.values())

    # ---- deadlines ----

    def _forgive_absence(self) -> None:
        """Time in which nobody looked at answers is not held against those who gave them."""
        now = self._cluster.now()
        absent_s = self._attention.absent_s(now)
        if absent_s:
            self._ready_at = min(now, self._ready_at + absent_s)
            self._actors.heard_at = min(now, self._actors.heard_at + absent_s)
            since_then: list[Actor | Execution] = [*self._actors.all, *self._executions.values()]
            for one in since_then:
                one.since = min(now, one.since + absent_s)

    def _enforce_deadlines(self) -> None:
        now = self._cluster.now()
        for execution in list(self._executions.values()):
            age_s, item = now - execution.since, execution.item
            deadline_s = self._deadlines.of(item)
            if age_s > 2 * deadline_s:
                self._deadlines.killed(item)
                self._actors.give_up(execution.actor, f"no answer for {age_s:.0f} s", kill=True)
            elif age_s > deadline_s and self._may_race(item):
                self._race(execution, age_s)
        self._actors.kill_late_starters(now)
        self._expect_a_ready_actor(now)

    def _expect_a_ready_actor(self, now: float) -> None:
        if self._actors.ready():
            self._ready_at, self._said_that_it_waits = now, False
        elif now - self._ready_at > self._settings.cluster_timeout_s:
            raise ClusterLost(
                f"no actor could be started for {self._settings.cluster_timeout_s:g} s: the cluster is lost."
            )

    def _may_race(self, item: Item) -> bool:
        return item in self._missing and item not in self._waiting and self._running(item) == 1

    def _race(self, execution: Execution, age_s: float) -> None:
        item = execution.item
        self._counts["raced"] += 1
        self._lost_on[item] = execution.actor.node.id
        self._waiting.appendleft(item)
        where = f"{item} has taken {age_s:.0f} s on {execution.actor}"
        text = f"rollout {where}: it is started a second time elsewhere"
        self._listener.event(text, "rollout_raced", actor=execution.actor.number)
