"""The actors that a pool keeps, and the nodes that it keeps them on."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bitexact.cli.exits import BadInput, ClusterLost
from bitexact.cluster.interface import Cluster, Listener, Lost, Node, PoolSettings, StartFailed, Ticket

NODES_EVERY_S = 1.0
SILENCE_TOLD_AFTER_S = 5.0  # of the head; a busy one may take a while
START_TIMEOUT_S = 60.0
RESTART_DELAY_S = 2.0  # before a node gets another actor after one that did not start; twice as long after each more
LONGEST_RESTART_DELAY_S = 60.0
MOST_DAMAGED = 3  # values that a node delivers other than they were named, before it is refused


@dataclass(eq=False)
class Actor:
    """A process that computes one item at a time."""

    number: int
    handle: Any
    node: Node
    greeting: Ticket | None  # until it is ready
    since: float

    def __str__(self) -> str:
        return f"actor {self.number} on {self.node.name}"


class Actors:
    """As many actors as are wanted, on the nodes that there are and that may be used."""

    def __init__(
        self,
        cluster: Cluster,
        settings: PoolSettings,
        listener: Listener,
        counts: Counter[str],
        release: Callable[[Actor, str], str],
    ) -> None:
        """`release` is called with each actor given up, and why: it sees to what that was doing, and says so."""
        self._cluster, self._settings, self._listener = cluster, settings, listener
        self._counts, self._release = counts, release
        self.all: list[Actor] = []
        self.nodes: dict[str, Node] = {}
        self.refused: set[str] = set()
        self.start_after: dict[str, float] = {}
        self.failed_starts: Counter[str] = Counter()  # by node, since the last that did not fail
        self.start_errors: dict[str, str] = {}  # by node, where the last start failed of the actor's own code
        self.damaged: Counter[str] = Counter()  # values that came damaged, by node
        self.started = 0
        self._looked_at_nodes = -NODES_EVERY_S
        self.heard_at = cluster.now()  # when the nodes were last known
        self._said_that_it_is_silent = False

    def keep(self) -> None:
        """Follow the nodes as they come and go, and start actors where there is room."""
        now = self._cluster.now()
        if now - self._looked_at_nodes >= NODES_EVERY_S:
            self._looked_at_nodes = now
            self._follow_nodes()
        while len(self.all) < self.wanted():
            node = self.roomiest_node(now)
            if node is None:
                break
            self._start(node, now)

    def wanted(self) -> int:
        """How many there are to be."""
        cpus = sum(node.cpus for node in self.nodes.values())
        return min(cpus, self._settings.actors or min(cpus, self._settings.at_most))

    def ready(self) -> list[Actor]:
        """Those that can work."""
        return [actor for actor in self.all if actor.greeting is None]

    def starting(self) -> list[Actor]:
        """Those that have not greeted yet."""
        return [actor for actor in self.all if actor.greeting is not None]

    def by_node(self) -> Counter[str]:
        """How many each node has, by its id."""
        return Counter(actor.node.id for actor in self.all)

    def describe(self) -> str:
        """The nodes that were found, and how many actors each has: "2 actors on pong-worker-1/227b11 (4 CPUs)"."""
        actors = self.by_node()
        return ", ".join(
            f"{_counted(actors[node.id], 'actor')} on {node.name} ({_counted(node.cpus, 'CPU')})"
            for node in self.nodes.values()
        )

    def greet(self, ticket: Ticket, has_worked: bool) -> None:
        """Take an actor's handshake in: its node is refused if it would compute other bits.

        Raises BadInput if then no node is left, unless the cluster `has_worked`: its node may come back.
        """
        actor = next((actor for actor in self.all if actor.greeting == ticket), None)
        if actor is None:
            return
        try:
            mismatch = self._cluster.result(ticket).mismatch
        except Lost as loss:
            self.give_up(actor, str(loss))
            return
        except StartFailed as failure:
            self._refuse_for_a_while(actor, str(failure), has_worked)
            return
        actor.greeting = None
        self._forget_failures(actor.node.id)
        if mismatch:
            self._refuse(actor.node, mismatch, has_worked)

    def blame(self, node: Node) -> None:
        """A value came damaged from a node, or to it. One of which that is true again and again is refused."""
        self._counts["damaged"] += 1
        self.damaged[node.id] += 1
        if self.damaged[node.id] == MOST_DAMAGED and node.id in self.nodes:
            self._refuse(node, f"{MOST_DAMAGED} values came damaged from it, or to it", has_worked=True)

    def give_up(self, actor: Actor, reason: str, kill: bool = False) -> None:
        """An actor is of no use any more."""
        self._counts["actors_killed" if kill else "actors_lost"] += 1
        if actor.greeting is not None:
            self._delay_next_start(actor.node.id)
        again = self.forget(actor, reason)
        did = "is killed" if kill else "is lost"
        text = f"{actor} {did}: {reason}; {again}it is replaced while there is room"
        kind = "actor_killed" if kill else "actor_lost"
        self._listener.event(text, kind, actor=actor.number, node=actor.node.name)

    def kill_late_starters(self, now: float) -> None:
        """An actor has a minute to get ready."""
        for actor in self.starting():
            if now - actor.since > START_TIMEOUT_S:
                self.give_up(actor, f"not ready after {START_TIMEOUT_S:g} s", kill=True)

    def forget(self, actor: Actor, reason: str) -> str:
        """Stop an actor, and have what it was doing seen to. Says what that was."""
        self.all.remove(actor)
        self._cluster.stop_actor(actor.handle)
        return self._release(actor, reason)

    def roomiest_node(self, now: float) -> Node | None:
        """The node with the most CPUs to spare, of those on which an actor may be started now."""
        used = self.by_node()
        room = {
            node: node.cpus - used[node.id]
            for node in self.nodes.values()
            if self.start_after.get(node.id, now) <= now and node.cpus > used[node.id]
        }
        return max(room, key=lambda node: (room[node], node.id), default=None)

    def _start(self, node: Node, now: float) -> None:
        handle, greeting = self._cluster.start_actor(node)
        self.all.append(Actor(self.started, handle, node, greeting, now))
        self.started += 1

    def _follow_nodes(self) -> None:
        try:
            found = self._cluster.nodes()
        except Lost:
            self._expect_an_answer()
            return
        self._hear()
        alive = {node.id: node for node in found if node.cpus}
        self.refused &= alive.keys()
        nodes = {node_id: node for node_id, node in alive.items() if node_id not in self.refused}
        for node_id in nodes.keys() - self.nodes.keys():
            if self.started:  # else it was there before the pool
                self._counts["nodes_joined"] += 1
                node = nodes[node_id]
                self._listener.event(f"node {node.name} joined with {node.cpus} CPUs", "node_joined", node=node.name)
        for node_id in self.nodes.keys() - nodes.keys():
            self._counts["nodes_lost"] += 1
            name = self.nodes[node_id].name
            self._listener.event(f"node {name} is gone", "node_lost", node=name)
            for actor in [actor for actor in self.all if actor.node.id == node_id]:
                self.give_up(actor, "its node is gone")
        self.nodes = nodes
        for node_id in (self.failed_starts.keys() | self.damaged.keys()) - alive.keys():
            self._forget_failures(node_id)
            del self.damaged[node_id]

    def _expect_an_answer(self) -> None:
        """The nodes known last stand while the head is silent; but not for ever. Raises ClusterLost."""
        silent_s, limit_s = self._cluster.now() - self.heard_at, self._settings.cluster_timeout_s
        if silent_s > limit_s:
            raise ClusterLost(f"the cluster has not answered for {limit_s:g} s: the cluster is lost.")
        if silent_s > SILENCE_TOLD_AFTER_S and not self._said_that_it_is_silent:
            self._said_that_it_is_silent = True
            self._listener.event(f"the cluster does not answer: the nodes known last stand, for up to {limit_s:g} s")

    def _hear(self) -> None:
        now = self._cluster.now()
        if self._said_that_it_is_silent:
            self._said_that_it_is_silent = False
            self._listener.event(f"the cluster answers again, after {now - self.heard_at:.0f} s")
        self.heard_at = now

    def _delay_next_start(self, node_id: str) -> float:
        """Seconds until a node on which an actor did not start is tried again: longer each time, up to a limit."""
        delay_s = min(RESTART_DELAY_S * 2.0 ** self.failed_starts[node_id], LONGEST_RESTART_DELAY_S)
        self.failed_starts[node_id] += 1
        self.start_after[node_id] = self._cluster.now() + delay_s
        return delay_s

    def _forget_failures(self, node_id: str) -> None:
        del self.failed_starts[node_id]  # a Counter does not mind
        self.start_after.pop(node_id, None)
        self.start_errors.pop(node_id, None)

    def _refuse_for_a_while(self, actor: Actor, cause: str, has_worked: bool) -> None:
        """What an actor's own code raises while it starts is its node's: it lacks something that others have."""
        node = actor.node
        self._counts["actors_lost"] += 1
        delay_s = self._delay_next_start(node.id)
        self.start_errors[node.id] = cause
        self.forget(actor, cause)
        self._listener.event(
            f"node {node.name} is refused: {actor} could not start ({cause}); it is tried again in {delay_s:g} s"
        )
        if not has_worked and not self.ready() and self.nodes.keys() <= self.start_errors.keys():
            raise BadInput(f"no node can be used: on {node.name} an actor could not start: {cause}.")

    def _refuse(self, node: Node, reason: str, has_worked: bool) -> None:
        self.refused.add(node.id)
        self._listener.event(f"node {node.name} is refused: {reason}")
        for actor in [actor for actor in self.all if actor.node.id == node.id]:
            self.forget(actor, "its node is refused")
        self.nodes.pop(node.id, None)
        if not self.nodes and not has_worked:
            raise BadInput(f"no node can be used: {node.name} is refused: {reason}.")


def _counted(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"
