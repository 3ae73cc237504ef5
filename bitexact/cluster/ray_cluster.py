"""Ray as the pool's cluster: actors, objects and nodes, and which of Ray's errors are the infrastructure's.

    with connect(address=None, actors=2):
        cluster = RayCluster(PongEnv)
        pool = Pool(cluster, PoolSettings(), listener)

No call into Ray is made on the caller's thread: the head, or this node's raylet, may be frozen. What concerns nodes and
actors is asked of the head on one thread, and what concerns objects on another, as training goes on without the head.
"""

import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, NamedTuple

import ray
from ray import exceptions as errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bitexact.cluster.beside import Beside, NoAnswer
from bitexact.cluster.interface import ActorLost, Damaged, Key, Lost, Node, ResultLost, StartFailed
from bitexact.cluster.ray_errors import fetch, in_one_line, kind, raised_while_starting
from bitexact.determinism import process
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.process import ProcessInfo

_FIRST_LOOK_S = 5.0  # for the nodes there are at first; without them there is nothing to begin with
_LOOK_S = 0.3  # for the nodes, later
_RESULT_S = 5.0  # for a value that is ready; longer than a large one takes from another node
_STUCK_S = 5.0  # of a call that concerns an object; each has a time limit of its own, which Ray may not keep
_POLL_S = 0.02  # between two looks whether an actor's start has been asked for


@dataclass(frozen=True)
class OnNode:
    """A value that stays in the object store of the node where it was made."""

    reference: Any
    node: str


@dataclass(frozen=True)
class Stays:
    """A task whose results stay on the node where they are made: only their records come to the driver."""

    task: Any


@dataclass(eq=False)
class Handle:
    """An actor that has been asked for."""

    node: str
    actor: Any = None  # once Ray was told


@dataclass(eq=False)
class Ticket:
    """For an actor's `ProcessInfo`, or for an item's outcome. What is awaited is there once Ray was told."""

    is_greeting: bool = False
    comes: Any = None
    stays: OnNode | None = None  # an item's result; then its record is what comes, and says that both are there
    error: BaseException | None = None  # Ray would not be told


@dataclass(eq=False)
class _Shared:
    """Arrays in the object store, once they are there."""

    name: str  # their fingerprint, which each actor compares
    reference: Any = None


class _Handshake(NamedTuple):
    """What an actor said of its process, held against this one."""

    mismatch: str


class RayCluster:
    """The pool's view of Ray. `actor_class` is a Ray actor class derived from `worker.Worker`.

    Of a task whose results are to stay where they are made, see `Stays`, each is handed over as an `OnNode`.
    """

    def __init__(self, actor_class: Any, *arguments: Any, expected: ProcessInfo | None = None) -> None:
        """Actors are made with `arguments`; their processes must be as `expected`, by default as this one."""
        self._actor_class, self._arguments = actor_class, arguments
        self.expected = expected or process.describe()
        self._control, self.objects = Beside("Ray's head"), Beside("Ray's objects")
        self._look: Future[list[dict[str, Any]]] | None = None
        self._looked = False
        self._waiting: Future[list[Ticket]] | None = None
        self.node_count, self.store_bytes = 0, 0.0  # of nodes with a CPU, and of their object stores

    def now(self) -> float:
        """Seconds, monotonic."""
        return time.monotonic()

    def nodes(self) -> list[Node]:
        """The nodes that are alive.

        Raises Lost if the head does not answer, and the question stands until it does; or if this node's raylet does
        not, without which no work is done.
        """
        self.expect_objects()
        if self._look is None:
            self._look = self._control.later(ray.nodes)
            limit_s = _LOOK_S if self._looked else _FIRST_LOOK_S
        else:
            limit_s = 0.0
        try:
            found = self._control.answer(self._look, limit_s)
        except errors.RayError as error:
            self._look = None
            raise Lost(kind(error)) from None
        self._look, self._looked = None, True
        alive = [node for node in found if node["Alive"]]
        rooms = [node["Resources"].get("object_store_memory", 0.0) for node in alive if node["Resources"].get("CPU")]
        self.node_count, self.store_bytes = len(rooms), sum(rooms)
        return [
            Node(
                node["NodeID"],
                f"{node['NodeManagerHostname']}/{node['NodeID'][:6]}",
                int(node["Resources"].get("CPU", 0)),
            )
            for node in alive
        ]

    def start_actor(self, node: Node) -> tuple[Handle, Ticket]:
        """Begin to start an actor on a node; the ticket is for its handshake."""
        handle, greeting = Handle(node.id), Ticket(is_greeting=True)
        self._control.later(self._start, handle, greeting)
        return handle, greeting

    def _start(self, handle: Handle, greeting: Ticket) -> None:
        try:
            here = NodeAffinitySchedulingStrategy(handle.node, soft=False)
            handle.actor = self._actor_class.options(scheduling_strategy=here).remote(*self._arguments)
            greeting.comes = handle.actor.greet.remote(tuple(self.expected.versions), tuple(self.expected.code))
        except errors.RayError as error:
            greeting.error = error

    def stop_actor(self, handle: Handle) -> None:
        """Kill an actor. A frozen one is killed by its raylet, which waits some seconds for it first."""
        self._control.later(_kill, handle)

    def expect_objects(self) -> None:
        """Raise ResultLost if what concerns objects hangs, as it does with a frozen raylet on this node."""
        if self.objects.hangs_for_s() > _STUCK_S:
            raise ResultLost("this node's raylet does not answer")

    def head_hangs(self) -> bool:
        """Whether what was asked of the head has not been answered for some time."""
        return self._control.hangs_for_s() > _STUCK_S

    def kill_later(self, actor: Any) -> None:
        """Kill an actor of Ray that is not one of the pool's."""
        self._control.later(_kill, Handle("", actor))

    def share(self, value: Arrays) -> _Shared:
        """Put arrays into the object store."""
        shared = _Shared(fingerprint(value))
        self.objects.later(_put, shared, value)
        return shared

    def submit(self, handle: Handle, task: Any, shared: _Shared, key: Key) -> Ticket:
        """Begin a task's `run` for one key on an actor."""
        ticket = Ticket()
        self.objects.later(_submit, ticket, handle, task, shared, key)
        return ticket

    def wait(self, tickets: Iterable[Ticket], timeout_s: float) -> list[Ticket]:
        """The tickets that are ready: as soon as one is, all that are. None while Ray does not answer."""
        wanted = list(tickets)
        if self._waiting is None:
            self._waiting = self.objects.later(_wait, wanted, timeout_s)
        try:
            ready = self.objects.answer(self._waiting, timeout_s + _LOOK_S)
        except NoAnswer:
            return []
        self._waiting = None
        return [ticket for ticket in ready if ticket in wanted]

    def result(self, ticket: Ticket) -> Any:
        """The value of a ticket that is ready; what Ray raises is sorted as `fetch` does."""
        if ticket.error is not None:
            raise ActorLost(kind(ticket.error))
        if ticket.is_greeting:
            return self._handshake(ticket.comes)
        value = self.get(ticket.comes)
        result, record = value if ticket.stays is None else (None, value)
        if different := record.mismatch(result):
            raise Damaged(f"not as it was named where it was made: {different}")
        return value if ticket.stays is None else (ticket.stays, value)

    def get(self, reference: Any) -> Any:
        """A value that is ready. Raises as `fetch` does, and NoAnswer."""
        try:
            return self.objects.call(fetch, reference, limit_s=_RESULT_S)
        except NoAnswer as silence:
            raise ResultLost(str(silence)) from None

    def _handshake(self, reference: Any) -> _Handshake:
        try:
            info: ProcessInfo = self.get(reference)
        except Lost as loss:
            cause = raised_while_starting(loss.__cause__)
            raise StartFailed(cause) if cause else loss from None
        except Exception as error:
            raise StartFailed(in_one_line(error)) from None
        return _Handshake(info.mismatch(self.expected))


# ---- made beside: these may hang --------------------------------------------------------------------------------


def _kill(handle: Handle) -> None:
    if handle.actor is not None:
        ray.kill(handle.actor, no_restart=True)


def _put(shared: _Shared, value: Any) -> None:
    shared.reference = ray.put(value)


def _submit(ticket: Ticket, handle: Handle, task: Any, shared: _Shared, key: Key) -> None:
    try:
        if isinstance(task, Stays):
            result, ticket.comes = handle.actor.run_and_keep.remote(shared.reference, task.task, key, shared.name)
            ticket.stays = OnNode(result, handle.node)
        else:
            ticket.comes = handle.actor.run.remote(shared.reference, task, key, shared.name)
    except errors.RayError as error:
        ticket.error = error


def _wait(tickets: list[Ticket], timeout_s: float) -> list[Ticket]:
    """Those that are ready, or cannot become so. One whose actor Ray has not been told of yet is looked at again."""
    end = time.monotonic() + timeout_s
    while True:
        if failed := [ticket for ticket in tickets if ticket.error is not None]:
            return failed
        awaited = {ticket.comes: ticket for ticket in tickets if ticket.comes is not None}
        left_s = max(0.0, end - time.monotonic())
        slice_s = left_s if len(awaited) == len(tickets) > 0 else min(left_s, _POLL_S)
        if awaited:
            ready, rest = ray.wait(list(awaited), num_returns=1, timeout=slice_s)
            if ready and rest:
                ready += ray.wait(rest, num_returns=len(rest), timeout=0)[0]
            if ready:
                return [awaited[reference] for reference in ready]
        else:
            time.sleep(slice_s)  # nothing runs that could be awaited
        if time.monotonic() >= end:
            return []
