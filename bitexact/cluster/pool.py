"""The pool: pure work items dispatched to actors until each has one result, whatever happens to actors and nodes.

    pool = Pool(cluster, PoolSettings(actors=None, at_most=10), listener)
    for key, value in pool.run("compute_gradient", weights, [(1, 0), (1, 1), (1, 2)]):
        ...

It knows nothing of what the items compute, only that computing one twice gives the same bytes. So a lost item is
dispatched again, anywhere; one past its deadline is raced by a second execution, and the first result counts; an actor
past twice the deadline is killed and replaced, as a frozen one would hold its CPU for ever. Each kill doubles the
item's deadline, so that one which takes longer than any before it comes to its end as well.

The pool knows no Ray either: it drives a `Cluster`, which is Ray's in `ray_cluster.py` and simulated in tests. Every
wait has a limit, and time is the cluster's.
"""

from collections import Counter, deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from bitexact.cli.exits import BadInput, ClusterLost

Key = tuple[int, ...]
Ticket = Hashable  # stands for a result that will come

# What is counted of a batch, in metrics.jsonl under the same names.
COUNTED = (
    "redispatched",
    "raced",
    "late_duplicates",
    "actors_lost",
    "actors_killed",
    "moved",
    "nodes_joined",
    "nodes_lost",
)

WAIT_S = 0.5  # the longest wait between two looks at deadlines, nodes and signals
NODES_EVERY_S = 1.0
START_TIMEOUT_S = 60.0
RESTART_DELAY_S = 2.0  # before a node gets another actor after one that did not start
FIRST_DEADLINE_S = 120.0  # while no item has been completed
SHORTEST_DEADLINE_S = 10.0
DEADLINE_FACTOR = 4.0  # times the longest of the recent items
RECENT_ITEMS = 100
LONGEST_ROUND_S = 5.0  # from one wait to the next; longer, and this process stood still or its caller was busy


class Lost(Exception):
    """The infrastructure took something away. The text says what, in a few words."""


class ActorLost(Lost):
    """The actor is dead or unreachable."""


class ResultLost(Lost):
    """The result is gone, but not the actor."""


class SharedLost(Lost):
    """The value shared with all items is gone."""


@dataclass(frozen=True)
class Node:
    """A place where actors live."""

    id: str
    name: str
    cpus: int


class Cluster(Protocol):
    """What the pool asks of a cluster. No call blocks for longer than it says."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    def nodes(self) -> list[Node]:
        """The nodes that are alive."""

    def start_actor(self, node: Node) -> tuple[Any, Ticket]:
        """Begin to start an actor on a node. The ticket is for its greeting, which says that it is ready."""

    def stop_actor(self, actor: Any) -> None:
        """Kill an actor, frozen or not, without waiting for it."""

    def share(self, value: Any) -> Any:
        """Put a value where all actors can read it, and return a reference to it."""

    def submit(self, actor: Any, method: str, shared: Any, key: Key) -> Ticket:
        """Begin method(shared, *key) on an actor."""

    def wait(self, tickets: Iterable[Ticket], timeout_s: float) -> list[Ticket]:
        """Those of the tickets that have a result, as soon as there is one, or none after the timeout."""

    def result(self, ticket: Ticket) -> Any:
        """The result of a ticket that `wait` returned. Raises a kind of Lost, or whatever the work itself raised."""


class Listener(Protocol):
    """What the pool tells while it works, and asks."""

    def event(self, text: str) -> None:
        """One line about something that went wrong, and what is done about it."""

    def refusal(self, greeting: Any) -> str:
        """Why a node must not be used, judged by the greeting of an actor on it; empty if it may."""

    def fingerprint(self, value: Any) -> str:
        """Names a result's bytes."""

    def duplicate(self, key: Key, first: str, second: str) -> None:
        """An item came back a second time: its fingerprints, which must agree."""

    def interrupt(self) -> None:
        """Called at least every second: raises to stop."""


@dataclass(frozen=True)
class PoolSettings:
    """How many actors, and how long to wait."""

    actors: int | None = None  # None: one per CPU
    at_most: int = 1  # ... but not more than this
    item_timeout_s: float | None = None  # None: from what items have taken
    cluster_timeout_s: float = 120.0


class _Item(NamedTuple):
    batch: int  # a late result must not be taken for one of a later batch, whose keys may be the same
    method: str
    key: Key

    def __str__(self) -> str:
        return ".".join(str(part) for part in self.key)


class _Waiting:
    """Items that wait for an actor. Each node has a stretch of them, so that neighbours are computed on one node.

    What is made of neighbours, such as their sum, can then be made there.
    """

    def __init__(self, items: Sequence[_Item] = (), actors: Mapping[str, int] | None = None) -> None:
        self._stretches: dict[str, deque[_Item]] = {}
        actors, end, counted = actors or {}, 0, 0
        for node_id, count in actors.items():
            begin, counted = end, counted + count
            end = len(items) * counted // sum(actors.values())
            self._stretches[node_id] = deque(items[begin:end])
        self._anyones = deque(items[end:])  # all, while there is no actor

    def pop(self, node_id: str) -> _Item:
        """The next for an actor on a node: of its own stretch, or else of the end of the longest."""
        if self._anyones:
            return self._anyones.popleft()
        own = self._stretches.get(node_id)
        return own.popleft() if own else max(self._stretches.values(), key=len).pop()

    def appendleft(self, item: _Item) -> None:
        """Put an item before all others."""
        self._anyones.appendleft(item)

    def remove(self, item: _Item) -> None:
        """Take an item out."""
        next(items for items in (self._anyones, *self._stretches.values()) if item in items).remove(item)

    def __contains__(self, item: _Item) -> bool:
        return item in self._anyones or any(item in items for items in self._stretches.values())

    def __bool__(self) -> bool:
        return bool(self._anyones) or any(self._stretches.values())


@dataclass(eq=False)
class _Actor:
    number: int
    handle: Any
    node: Node
    greeting: Ticket | None  # until it is ready
    since: float

    def __str__(self) -> str:
        return f"actor {self.number} on {self.node.name}"


@dataclass(eq=False)
class _Execution:
    item: _Item
    actor: _Actor
    shared: Any
    since: float


class Pool:
    """Keeps actors on the nodes there are, and work on the actors."""

    def __init__(self, cluster: Cluster, settings: PoolSettings, listener: Listener) -> None:
        self._cluster, self._settings, self._listener = cluster, settings, listener
        self._nodes: dict[str, Node] = {}
        self._refused: set[str] = set()
        self._start_after: dict[str, float] = {}
        self._actors: list[_Actor] = []
        self._started = 0
        self._executions: dict[Ticket, _Execution] = {}
        self._batch = 0
        self._waiting = _Waiting()
        self._missing: set[_Item] = set()
        self._fingerprints: dict[_Item, str] = {}  # of items that may still come back a second time
        self._lost_on: dict[_Item, str] = {}
        self._kills: Counter[_Item] = Counter()
        self._recent_s: deque[float] = deque(maxlen=RECENT_ITEMS)
        self._looked_at_nodes = -NODES_EVERY_S
        self._waited_at = cluster.now()
        self._ready_at = cluster.now()  # when an actor was last ready
        self._said_that_it_waits = False
        self.counts: Counter[str] = Counter()

    # ---- what it is used for ----

    def run(self, method: str, shared: Any, keys: Iterable[Key]) -> Iterator[tuple[Key, Any]]:
        """Compute method(shared, *key) for each key, and yield (key, value) once each, in order of arrival."""
        self._batch += 1
        items = [_Item(self._batch, method, key) for key in keys]
        self._waiting = _Waiting(items, Counter(actor.node.id for actor in self._actors))
        self._missing = set(items)
        self._lost_on.clear()
        self._kills.clear()
        self._shared_value, self._shared = shared, self._cluster.share(shared)
        while self._missing:
            yield from self._round()

    def take_counts(self) -> Counter[str]:
        """What happened since this was last asked."""
        counts, self.counts = self.counts, Counter()
        return counts

    def describe(self) -> str:
        """The nodes that were found, and how many actors each has: "2 actors on pong-worker-1/227b11 (4 CPUs)"."""
        actors = Counter(actor.node.id for actor in self._actors)
        return ", ".join(
            f"{_counted(actors[node.id], 'actor')} on {node.name} ({_counted(node.cpus, 'CPU')})"
            for node in self._nodes.values()
        )

    def wait_until_ready(self) -> None:
        """Return when the first actor is ready to work."""
        while not self._is_ready():
            self._round()

    # ---- actors and nodes ----

    def _round(self) -> list[tuple[Key, Any]]:
        """Keep actors at work until something happens, and see to it. What arrived for the caller is returned."""
        self._listener.interrupt()
        self._keep_actors()
        self._dispatch()
        ready = self._cluster.wait(self._tickets(), WAIT_S)
        self._forgive_absence()
        arrived = [arrival for ticket in ready for arrival in self._settle(ticket)]
        self._enforce_deadlines()  # before the caller works, as results that come meanwhile are not late
        self._dispatch()  # likewise: no actor waits for the caller
        return arrived

    def _keep_actors(self) -> None:
        now = self._cluster.now()
        if now - self._looked_at_nodes >= NODES_EVERY_S:
            self._looked_at_nodes = now
            self._follow_nodes()
        while len(self._actors) < self._wanted_actors():
            node = self._roomiest_node(now)
            if node is None:
                break
            self._start_actor(node, now)
        if not self._actors and not self._said_that_it_waits:
            self._said_that_it_waits = True
            self._tell(
                f"no actor {'left' if self._started else 'yet'}: "
                f"waiting up to {self._settings.cluster_timeout_s:g} s for a node with a free CPU"
            )

    def _is_ready(self) -> bool:
        return any(actor.greeting is None for actor in self._actors)

    def _follow_nodes(self) -> None:
        alive = {node.id: node for node in self._cluster.nodes() if node.cpus}
        self._refused &= alive.keys()
        nodes = {node_id: node for node_id, node in alive.items() if node_id not in self._refused}
        for node_id in nodes.keys() - self._nodes.keys():
            if self._started:  # else it was there before the pool
                self.counts["nodes_joined"] += 1
                self._tell(f"node {nodes[node_id].name} joined with {nodes[node_id].cpus} CPUs")
        for node_id in self._nodes.keys() - nodes.keys():
            self.counts["nodes_lost"] += 1
            self._tell(f"node {self._nodes[node_id].name} is gone")
            for actor in [actor for actor in self._actors if actor.node.id == node_id]:
                self._give_up(actor, "its node is gone")
        self._nodes = nodes
        self._start_after = {node_id: time for node_id, time in self._start_after.items() if node_id in alive}

    def _wanted_actors(self) -> int:
        cpus = sum(node.cpus for node in self._nodes.values())
        return min(cpus, self._settings.actors or min(cpus, self._settings.at_most))

    def _roomiest_node(self, now: float) -> Node | None:
        used = Counter(actor.node.id for actor in self._actors)
        room = {
            node: node.cpus - used[node.id]
            for node in self._nodes.values()
            if self._start_after.get(node.id, now) <= now and node.cpus > used[node.id]
        }
        return max(room, key=lambda node: (room[node], node.id), default=None)

    def _start_actor(self, node: Node, now: float) -> None:
        handle, greeting = self._cluster.start_actor(node)
        self._actors.append(_Actor(self._started, handle, node, greeting, now))
        self._started += 1

    def _give_up(self, actor: _Actor, reason: str, kill: bool = False) -> None:
        """An actor is of no use any more."""
        self.counts["actors_killed" if kill else "actors_lost"] += 1
        if actor.greeting is not None:
            self._start_after[actor.node.id] = self._cluster.now() + RESTART_DELAY_S
        again = self._forget(actor)
        self._tell(f"{actor} {'is killed' if kill else 'is lost'}: {reason}; {again}it is replaced while there is room")

    def _refuse(self, node: Node, reason: str) -> None:
        self._refused.add(node.id)
        self._tell(f"node {node.name} is refused: {reason}")
        for actor in [actor for actor in self._actors if actor.node.id == node.id]:
            self._forget(actor)
        self._nodes.pop(node.id, None)
        if not self._nodes and not self._recent_s:  # once something has been computed, its node may come back
            raise BadInput(f"no node can be used: {node.name} is refused: {reason}.")

    def _forget(self, actor: _Actor) -> str:
        """Stop an actor, and dispatch again what it was doing. Says what that was."""
        self._actors.remove(actor)
        self._cluster.stop_actor(actor.handle)
        doing = [ticket for ticket, execution in self._executions.items() if execution.actor is actor]
        stopped = [self._executions.pop(ticket) for ticket in doing]
        return "".join(f"rollout {execution.item} runs again, and " for execution in stopped if self._again(execution))

    # ---- work ----

    def _tickets(self) -> list[Ticket]:
        greetings = [actor.greeting for actor in self._actors if actor.greeting is not None]
        return [*self._executions, *greetings]

    def _dispatch(self) -> None:
        busy = {execution.actor for execution in self._executions.values()}
        idle = [actor for actor in self._actors if actor.greeting is None and actor not in busy]
        for actor in idle:
            if not self._waiting:
                break
            item = self._waiting.pop(actor.node.id)
            if item in self._lost_on:
                self.counts["redispatched"] += 1
                if self._lost_on[item] != actor.node.id:
                    self.counts["moved"] += 1
            ticket = self._cluster.submit(actor.handle, item.method, self._shared, item.key)
            self._executions[ticket] = _Execution(item, actor, self._shared, self._cluster.now())

    def _settle(self, ticket: Ticket) -> list[tuple[Key, Any]]:
        """Take a ticket's result in: a new one is returned, anything else dealt with."""
        execution = self._executions.pop(ticket, None)
        if execution is None:
            self._greet(ticket)
            return []
        try:
            value = self._cluster.result(ticket)
        except ActorLost as loss:
            self._executions[ticket] = execution
            self._give_up(execution.actor, str(loss))
        except SharedLost as loss:
            if execution.shared is self._shared:  # else it has been shared again since
                self._shared = self._cluster.share(self._shared_value)
                self._tell(f"the weights are lost ({loss}): they are shared again")
            if self._again(execution):
                self._tell(f"rollout {execution.item} could not read the weights on {execution.actor}: it runs again")
        except ResultLost as loss:
            if self._again(execution):
                self._tell(f"the result of rollout {execution.item} is lost ({loss}): it runs again")
        else:
            return self._count(execution, value)
        return []

    def _count(self, execution: _Execution, value: Any) -> list[tuple[Key, Any]]:
        item = execution.item
        raced = self._running(item)
        if item in self._missing:
            self._missing.remove(item)
            self._recent_s.append(self._cluster.now() - execution.since)  # a late one's time says nothing of its work
            if item in self._waiting:  # its second execution has not begun
                self._waiting.remove(item)
            if raced:
                self._fingerprints[item] = self._listener.fingerprint(value)
            return [(item.key, value)]
        if item in self._fingerprints:
            self.counts["late_duplicates"] += 1
            self._tell(f"rollout {item} came a second time from {execution.actor}: compared and dropped")
            self._listener.duplicate(item.key, self._fingerprints[item], self._listener.fingerprint(value))
            if not raced:
                del self._fingerprints[item]
        return []

    def _greet(self, ticket: Ticket) -> None:
        actor = next((actor for actor in self._actors if actor.greeting == ticket), None)
        if actor is None:
            return
        try:
            reason = self._listener.refusal(self._cluster.result(ticket))
        except Lost as loss:
            self._give_up(actor, str(loss))
            return
        actor.greeting = None
        if reason:
            self._refuse(actor.node, reason)

    def _again(self, execution: _Execution) -> bool:
        """Have a lost item computed again, if it is missing and nobody else is at it. Says whether it is."""
        item = execution.item
        if item not in self._missing or item in self._waiting or self._running(item):
            if not self._running(item):
                self._fingerprints.pop(item, None)
            return False
        self._lost_on[item] = execution.actor.node.id
        self._waiting.appendleft(item)
        return True

    def _running(self, item: _Item) -> int:
        return sum(execution.item == item for execution in self._executions.values())

    # ---- deadlines ----

    def deadline_s(self) -> float:
        """How long an item may take before it is raced; its actor is killed after twice as long."""
        if self._settings.item_timeout_s:
            return self._settings.item_timeout_s
        if not self._recent_s:
            return FIRST_DEADLINE_S
        return max(SHORTEST_DEADLINE_S, DEADLINE_FACTOR * max(self._recent_s))

    def _forgive_absence(self) -> None:
        """Time in which nobody looked at answers is not held against those who gave them."""
        now = self._cluster.now()
        absent_s, self._waited_at = now - self._waited_at, now
        if absent_s > LONGEST_ROUND_S:
            self._ready_at = min(now, self._ready_at + absent_s)
            since_then: list[_Actor | _Execution] = [*self._actors, *self._executions.values()]
            for one in since_then:
                one.since = min(now, one.since + absent_s)

    def _enforce_deadlines(self) -> None:
        now, deadline_s = self._cluster.now(), self.deadline_s()
        for execution in list(self._executions.values()):
            age_s, item = now - execution.since, execution.item
            patience_s = deadline_s * 2 ** self._kills[item]
            if age_s > 2 * patience_s:
                self._kills[item] += 1
                self._give_up(execution.actor, f"no answer for {age_s:.0f} s", kill=True)
            elif age_s > patience_s and self._may_race(item):
                self._race(execution, age_s)
        for actor in list(self._actors):
            if actor.greeting is not None and now - actor.since > START_TIMEOUT_S:
                self._give_up(actor, f"not ready after {START_TIMEOUT_S:g} s", kill=True)
        self._expect_a_ready_actor(now)

    def _expect_a_ready_actor(self, now: float) -> None:
        if self._is_ready():
            self._ready_at, self._said_that_it_waits = now, False
        elif now - self._ready_at > self._settings.cluster_timeout_s:
            raise ClusterLost(
                f"no actor could be started for {self._settings.cluster_timeout_s:g} s: the cluster is lost."
            )

    def _may_race(self, item: _Item) -> bool:
        return item in self._missing and item not in self._waiting and self._running(item) == 1

    def _race(self, execution: _Execution, age_s: float) -> None:
        item = execution.item
        self.counts["raced"] += 1
        self._lost_on[item] = execution.actor.node.id
        self._waiting.appendleft(item)
        self._tell(
            f"rollout {item} has taken {age_s:.0f} s on {execution.actor}: it is started a second time elsewhere"
        )

    def _tell(self, text: str) -> None:
        self._listener.event(text)


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
