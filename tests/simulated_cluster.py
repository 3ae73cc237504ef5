"""A cluster in simulated time for tests of the pool: what happens in it, and when, is a script.

    cluster = SimulatedCluster(compute, Script(nodes=(2, 1), faults=((3.0, "freeze", 0), (9.0, "leave", 1))))
    pool = Pool(cluster, PoolSettings(), cluster.listener)

The same script gives the same run: there are no threads, no randomness and no real clock. A fault is the name of one
of the methods under "what can happen", with what it strikes given as a number that counts round those there are.

By assertions it holds the pool to what no script excuses (`_check`, `start_actor`, `submit`, `wait`): actors, work and
waiting only as allowed, and time used well. Pool time is simulated time less that in which the caller worked or the
pool's own process stood still.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bitexact.cluster.actors import MOST_DAMAGED, NODES_EVERY_S
from bitexact.cluster.deadlines import LONGEST_ROUND_S
from bitexact.cluster.interface import ActorLost, Damaged, Key, Lost, Node, ResultLost, SharedLost, StartFailed

DIES = -1.0  # as the time an actor takes to start: it dies instead, after half a second
RAISES = -2.0  # likewise: its own code raises
NEVER = math.inf
EVENTUALLY_S = 1.0  # what a start or an item takes that the script does not name
READING_S = 0.1  # until an actor notices that what it is to read is lost

LONGEST_WITHOUT_INTERRUPT_S = 1.0
LONGEST_UNUSED_ROOM_S = 5.0  # a look at the nodes, the delay after a failed start, and a few rounds
MOST_ROUNDS = 20_000  # of waiting; a run that takes more does not end

Work = Callable[[Any, Any, Key], Any]
_PENDING = object()


@dataclass(frozen=True)
class Script:
    """All that happens in a run by itself."""

    nodes: Sequence[int] = (2,)  # CPUs of the nodes there are at first: n0, n1, ...
    starts: Sequence[float] = ()  # seconds the first actors take to start, or DIES, RAISES, NEVER
    durations: Sequence[float] = ()  # seconds the first executions take
    places: Sequence[int] = ()  # of results ready together, which is handed over first; again and again
    faults: Sequence[tuple[float, str, int]] = ()  # when, what, which


@dataclass(eq=False)
class Shared:
    """A value in the object store."""

    value: Any
    lost: bool = False


@dataclass(eq=False)
class Actor:
    """A process, and what the pool can know about it."""

    number: int
    node: Node
    dead: bool = False
    frozen: bool = False
    stopped_at: float = NEVER  # by the pool
    known_lost: bool = False  # the pool has been told
    greeted: bool = False  # the pool has been told that it is ready
    greeting: "Ticket | None" = None
    ticket: "Ticket | None" = None  # the latest

    @property
    def stopped(self) -> bool:
        return self.stopped_at < NEVER

    @property
    def alive(self) -> bool:
        return not self.dead and not self.stopped

    @property
    def busy(self) -> bool:
        return self.ticket is not None and not self.ticket.taken


@dataclass(eq=False)
class Ticket:
    """A greeting or an execution; its outcome is a value or an exception, once there is one."""

    actor: Actor
    begun: float
    task: Any = "greet"
    key: Key = None
    shared: Shared | None = None
    due: bool = False  # done, but perhaps its actor is frozen before it could say so
    fate: Exception | None = None
    outcome: Any = _PENDING
    taken: bool = False

    @property
    def item(self) -> tuple[Any, Key]:
        """An item of one batch: no two batches share equal values."""
        assert self.shared is not None
        return self.shared.value, self.key


@dataclass(frozen=True)
class Handshake:
    mismatch: str


class Stopped(Exception):
    """What the listener raises to stop the pool."""


@dataclass
class Listener:
    """Writes down what the pool tells."""

    cluster: "SimulatedCluster"
    events: list[str] = field(default_factory=list)
    kinds: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    stop_at: float = math.inf
    asked_at: float = 0.0

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        self.events.append(text)
        self.kinds.append((kind, details))

    def check_interrupt(self) -> None:
        self.asked_at = self.cluster.pool_time
        if self.cluster.now() >= self.stop_at:
            raise Stopped

    def told(self, *parts: str) -> list[str]:
        """The lines that hold all of these."""
        return [line for line in self.events if all(part in line for part in parts)]


class SimulatedCluster:
    """Actors, objects and nodes that behave as a script says."""

    def __init__(self, work: Work, script: Script, actors: int | None = None) -> None:
        self._work, self._script = work, script
        self._most_actors = actors
        self._time, self.absent_s, self.shortly_absent_s = 0.0, 0.0, 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._stands_still_s = 0.0
        self.living: dict[str, Node] = {}
        self.told: list[Node] = []  # at the pool's last look
        self._told_at = -math.inf
        self.silent, self.heard_at = False, 0.0  # the head: of nodes that come and go, and of actors that start
        self._joined = 0
        self._spoilt: set[str] = set()
        self.refused: set[str] = set()  # nodes whose mismatch the pool has been told
        self.damaged: Counter[str] = Counter()  # results that came damaged, by node
        self.raised: set[str] = set()  # nodes on which an actor's own code raised
        self.failed_starts: Counter[str] = Counter()  # by node, one after the other, that the pool has been told
        self.actors: list[Actor] = []
        self.submitted: list[Ticket] = []
        self.taken: list[Ticket] = []  # results handed over to the pool
        self.shared: list[Shared] = []
        self._rounds = 0
        self.ready_at, self._used_well_at = 0.0, 0.0
        self.listener = Listener(self)
        for cpus in script.nodes:
            self._add_node(cpus)
        for when, fault, which in script.faults:
            self.at(when, getattr(self, fault), which)

    # ---- what the test does ----

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        """Have something happen at a time."""
        heapq.heappush(self._events, (when, self._scheduled, lambda: action(*arguments)))
        self._scheduled += 1

    def takes_s(self, ticket: Ticket) -> float:
        """How long an execution takes, about to be submitted. A test may put another function here."""
        return dict(enumerate(self._script.durations)).get(len(self.submitted), EVENTUALLY_S)

    def caller_works(self, seconds: float) -> None:
        """The caller of the pool takes its time."""
        self.absent_s += seconds
        self.shortly_absent_s += seconds if seconds <= LONGEST_ROUND_S else 0.0
        self._advance(self._time + seconds)

    @property
    def pool_time(self) -> float:
        """How long the pool has worked."""
        return self._time - self.absent_s

    @property
    def counted_time(self) -> float:
        """The same with what the pool cannot tell from work of its own."""
        return self.pool_time + self.shortly_absent_s

    @property
    def kept(self) -> list[Actor]:
        """The actors that the pool must know of."""
        return [actor for actor in self.actors if not actor.stopped]

    @property
    def greetings(self) -> list[Ticket]:
        """Those of all actors ever started."""
        return [actor.greeting for actor in self.actors]

    def running(self, item: tuple[Any, Key]) -> int:
        """How many of the kept actors are at an item."""
        return sum(actor.busy and actor.greeted and actor.ticket.item == item for actor in self.kept)

    def usable(self, nodes: Iterable[Node]) -> list[Node]:
        """Those of the nodes on which actors may run."""
        return [node for node in nodes if node.cpus and node.id not in self.refused]

    # ---- what the pool asks ----

    def now(self) -> float:
        return self._time

    def nodes(self) -> list[Node]:
        assert self._time - self._told_at >= NODES_EVERY_S, "the nodes are asked for too often"
        self._told_at = self._time
        if self.silent:
            raise Lost("no answer")
        self.told, self.heard_at = list(self.living.values()), self.counted_time
        return self.told

    def start_actor(self, node: Node) -> tuple[Actor, Ticket]:
        assert node.id not in self.refused, f"an actor on {node.name}, which was refused"
        on_node = sum(actor.node.id == node.id for actor in self.kept)
        assert on_node < node.cpus, f"more actors than CPUs on {node.name}"
        assert self._most_actors is None or len(self.kept) < self._most_actors, "more actors than wanted"
        actor = Actor(len(self.actors), node)
        actor.greeting = actor.ticket = Ticket(actor, self._time)
        takes_s = dict(enumerate(self._script.starts)).get(actor.number, EVENTUALLY_S)
        if node.id not in self.living or takes_s == DIES:
            self.at(self._time + 0.5, self._die, actor)
        elif takes_s == RAISES:
            self.at(self._time + 0.5, self._answer, actor.ticket, StartFailed("OSError: no room"))
        elif takes_s != NEVER:
            self.at(self._time + takes_s, self._finish, actor.ticket)
        self.actors.append(actor)
        self._used_well_at = self.pool_time
        return actor, actor.ticket

    def stop_actor(self, actor: Actor) -> None:
        assert not actor.stopped, f"actor {actor.number} is stopped twice"
        self.failed_starts[actor.node.id] += not actor.greeted and not actor.known_lost
        actor.stopped_at = self._time

    def share(self, value: Any) -> Shared:
        self.shared.append(Shared(value))
        return self.shared[-1]

    def submit(self, actor: Actor, task: Any, shared: Shared, key: Key) -> Ticket:
        assert not actor.stopped, f"work for actor {actor.number}, which the pool has stopped"
        assert not actor.known_lost, f"work for actor {actor.number}, which is known to be lost"
        assert actor.greeted, f"work for actor {actor.number}, which is not ready"
        assert not actor.busy, f"work for actor {actor.number}, which is busy"
        ticket = Ticket(actor, self._time, task, key, shared)
        assert self.running(ticket.item) < 2, f"item {ticket.item} is running more than twice at once"
        actor.ticket = ticket
        if shared.lost:
            ticket.fate = SharedLost("its owner is gone")
        takes_s = self.takes_s(ticket)
        if actor.dead:
            self.at(self._time, self._answer, ticket, ActorLost("it died while idle"))
        elif takes_s != NEVER:
            self.at(self._time + (READING_S if shared.lost else takes_s), self._finish, ticket)
        self.submitted.append(ticket)
        return ticket

    def wait(self, tickets: Iterable[Ticket], timeout_s: float) -> list[Ticket]:
        tickets = list(tickets)
        assert len(set(tickets)) == len(tickets), "the same ticket is waited for twice"
        for ticket in tickets:
            assert not ticket.actor.stopped, f"waits for actor {ticket.actor.number}, which the pool has stopped"
            assert not ticket.taken, "waits for what it has"
        self._check()
        end = self._time + timeout_s
        while not (ready := [ticket for ticket in tickets if ticket.outcome is not _PENDING]) and self._time < end:
            next_event = self._events[0][0] if self._events else end
            self._advance(min(end, max(next_event, self._time)))
            if self._stands_still_s:  # nothing is noticed until later
                seconds, self._stands_still_s = self._stands_still_s, 0.0
                self._time += seconds
                self.absent_s += seconds
                return []
        return self._in_some_order(ready)

    def result(self, ticket: Ticket) -> Any:
        assert not ticket.taken, "a result is taken twice"
        assert ticket.outcome is not _PENDING, "a result is asked for that is not there"
        ticket.taken = True
        if isinstance(ticket.outcome, Exception):
            ticket.actor.known_lost = isinstance(ticket.outcome, ActorLost | StartFailed)
            self.failed_starts[ticket.actor.node.id] += ticket.shared is None
            if isinstance(ticket.outcome, Damaged):
                self.damaged[ticket.actor.node.id] += 1
                if self.damaged[ticket.actor.node.id] == MOST_DAMAGED:
                    self.refused.add(ticket.actor.node.id)
            if isinstance(ticket.outcome, StartFailed):
                self.raised.add(ticket.actor.node.id)
            raise ticket.outcome
        if ticket.shared is None:
            ticket.actor.greeted = True
            del self.failed_starts[ticket.actor.node.id]
            self.raised.discard(ticket.actor.node.id)
            if ticket.outcome.mismatch:
                self.refused.add(ticket.actor.node.id)
        else:
            self.taken.append(ticket)
        return ticket.outcome

    # ---- what can happen ----

    def kill(self, which: int) -> None:
        """An actor dies, starting, idle or at work."""
        if alive := [actor for actor in self.actors if actor.alive]:
            self._die(alive[which % len(alive)])

    def freeze(self, which: int) -> None:
        """An actor stands still, and looks alive."""
        if moving := self._moving():
            moving[which % len(moving)].frozen = True

    def stall(self, which: int) -> None:
        """An actor stands still for as many seconds as the number says."""
        if moving := self._moving():
            actor = moving[which % len(moving)]
            actor.frozen = True
            self.at(self._time + which, self._thaw, actor)

    def thaw(self, which: int) -> None:
        """A frozen actor goes on; what it should have said by now, it says now."""
        if frozen := [actor for actor in self.actors if actor.alive and actor.frozen]:
            self._thaw(frozen[which % len(frozen)])

    def freeze_node(self, which: int) -> None:
        """All actors of a node stand still."""
        for actor in self._on_node(which):
            actor.frozen = True

    def thaw_node(self, which: int) -> None:
        """All actors of a node go on."""
        for actor in self._on_node(which):
            self._thaw(actor)

    def lose_result(self, which: int) -> None:
        """What an actor is computing will not reach the pool."""
        if at_work := self._at_work():
            at_work[which % len(at_work)].fate = ResultLost("its node's store is full")

    def damage(self, which: int) -> None:
        """What an actor is computing comes to the pool with a bit flipped, and the pool can tell."""
        if at_work := self._at_work():
            at_work[which % len(at_work)].fate = Damaged("W1")

    def lose_shared(self, which: int) -> None:
        """The newest shared value is gone, for all that begins from now on, and for one that is reading it."""
        if self.shared:
            self.shared[-1].lost = True
            reading = [ticket for ticket in self._at_work() if ticket.shared is self.shared[-1]]
            if reading:
                reading[which % len(reading)].fate = SharedLost("its owner is gone")

    def leave(self, which: int) -> None:
        """A node is gone, with its actors: an even number says so, an odd one leaves silence."""
        if self.living:
            node = self._node(which // 2)
            del self.living[node.id]
            for actor in self._on(node):
                self._die(actor, silently=which % 2 == 1)

    def join(self, which: int) -> None:
        """A node comes: one with 0 to 3 CPUs."""
        self._add_node(which % 4)

    def spoil(self, which: int) -> None:
        """A node is not fit any more: whatever starts on it from now on says so."""
        if self.living:
            self._spoilt.add(self._node(which).id)

    def silence(self, which: int) -> None:
        """The head stands still for as many seconds as the number says, or for good."""
        self.silent = True
        if which < 25:
            self.at(self._time + which, setattr, self, "silent", False)

    def stand_still(self, which: int) -> None:
        """The pool's own process stops, for ten seconds or a multiple of it."""
        self._stands_still_s = 10.0 * (1 + which)

    # ---- how it works ----

    def _add_node(self, cpus: int) -> None:
        name = f"n{self._joined}"
        self._joined += 1
        self.living[name] = Node(name, name, cpus)

    def _node(self, which: int) -> Node:
        return list(self.living.values())[which % len(self.living)]

    def _on(self, node: Node) -> list[Actor]:
        return [actor for actor in self.actors if actor.node.id == node.id and actor.alive]

    def _on_node(self, which: int) -> list[Actor]:
        return self._on(self._node(which)) if self.living else []

    def _moving(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.alive and not actor.frozen]

    def _at_work(self) -> list[Ticket]:
        tickets = [actor.ticket for actor in self.actors if actor.alive and actor.ticket is not None]
        return [ticket for ticket in tickets if ticket.shared is not None and ticket.outcome is _PENDING]

    def _die(self, actor: Actor, silently: bool = False) -> None:
        actor.dead = True
        if not silently and actor.ticket is not None:
            self._answer(actor.ticket, ActorLost("it died"))

    def _thaw(self, actor: Actor) -> None:
        actor.frozen = False
        if actor.ticket is not None and actor.ticket.due:
            self._finish(actor.ticket)

    def _finish(self, ticket: Ticket) -> None:
        ticket.due = True
        if ticket.actor.dead or ticket.actor.frozen:
            return
        if ticket.shared is None and self.silent:
            self.at(self._time + 1.0, self._finish, ticket)
            return
        if ticket.shared is None:
            mismatch = "its numpy is 1.0, not 2.0" if ticket.actor.node.id in self._spoilt else ""
            self._answer(ticket, ticket.fate or Handshake(mismatch))
            return
        try:
            value = ticket.fate or self._work(ticket.task, ticket.shared.value, ticket.key)
        except Exception as error:
            value = error
        self._answer(ticket, value)

    def _answer(self, ticket: Ticket, outcome: Any) -> None:
        if ticket.outcome is _PENDING:
            ticket.outcome = outcome

    def _advance(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            when, _, action = heapq.heappop(self._events)
            self._time = max(self._time, when)
            action()
        self._time = max(self._time, until)

    def _in_some_order(self, ready: list[Ticket]) -> list[Ticket]:
        places = self._script.places
        for first, _ in enumerate(ready if places else []):
            chosen = first + places[(self._rounds + first) % len(places)] % (len(ready) - first)
            ready[first], ready[chosen] = ready[chosen], ready[first]
        return ready

    # ---- rules without exception ----

    def _check(self) -> None:
        self._rounds += 1
        assert self._rounds < MOST_ROUNDS, "the run does not end"
        without_interrupt_s = self.pool_time - self.listener.asked_at
        assert without_interrupt_s <= LONGEST_WITHOUT_INTERRUPT_S, "the pool does not ask whether to stop"
        leaked = [actor.number for actor in self.kept if actor.known_lost]
        assert not leaked, f"actors {leaked} are lost, but were not stopped: they may hold their CPUs"
        on_nodes = Counter(actor.node.id for actor in self.kept)
        spoilt = on_nodes.keys() & self.refused
        assert not spoilt, f"there are actors on refused nodes {spoilt}"
        if any(actor.greeted for actor in self.kept):
            self.ready_at = self.pool_time
        # after a second failure in a row a node may be left alone, for longer each time
        tried = [node for node in self.living.values() if self.failed_starts[node.id] < 2]
        cpus = sum(node.cpus for node in self.usable(tried))
        if self.silent or len(self.kept) >= min(cpus, self._most_actors or cpus):
            self._used_well_at = self.pool_time
        assert self.pool_time - self._used_well_at <= LONGEST_UNUSED_ROOM_S, (
            "there is room for an actor, and none starts"
        )
