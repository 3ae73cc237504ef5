"""What the pool asks of a cluster and tells its owner: plain words for nodes, actors, tickets and losses.

`ray_cluster.RayCluster` is Ray's `Cluster`; tests have one in simulated time. Nothing here knows either.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Key = Any  # hashable; names an item within its batch, and its text is what people read
Ticket = Any  # hashable; stands for a result that will come


class Lost(Exception):
    """The infrastructure took something away. The text says what, in a few words."""


class ActorLost(Lost):
    """The actor is dead or unreachable."""


class ResultLost(Lost):
    """The result is gone, but not the actor."""


class Damaged(ResultLost):
    """The result came, but not as it was named where it was made."""


class SharedLost(Lost):
    """The value shared with all items is gone."""


class SharedDamaged(SharedLost):
    """The value shared with all items came to an actor, but not as it was named here."""


class StartFailed(Exception):
    """An actor's own code raised while it started or greeted. The text names the cause."""


@dataclass(frozen=True)
class Node:
    """A place where actors live."""

    id: str
    name: str
    cpus: int


class Record(Protocol):
    """What comes with a result, small: it names the bytes of the result."""

    @property
    def digest(self) -> str:
        """The same for two results only if their bytes are."""

    def mismatch(self, result: Any) -> str:
        """What of the result and of this record, as they came, is not as it was where it was made; empty if nothing is.

        Of None, for a result that stays elsewhere: what of the record alone.
        """


class Duplicate(NamedTuple):
    """An item that was computed twice: the digests of both results, which must agree."""

    key: Key
    first: str
    second: str


class Handshake(Protocol):
    """What an actor says when it is ready."""

    @property
    def mismatch(self) -> str:
        """Why its node would compute other bits than this process; empty if it would not."""


class Cluster(Protocol):
    """What the pool asks of a cluster. No call blocks for longer than it says."""

    def now(self) -> float:
        """Seconds on a clock that never goes back."""

    def nodes(self) -> list[Node]:
        """The nodes that are alive. Raises Lost while whoever knows them does not answer."""

    def start_actor(self, node: Node) -> tuple[Any, Ticket]:
        """Begin to start an actor on a node. The ticket is for its `Handshake`, which says that it is ready."""

    def stop_actor(self, actor: Any) -> None:
        """Kill an actor, frozen or not, without waiting for it."""

    def share(self, value: Any) -> Any:
        """Put a value where all actors can read it, and return a reference to it."""

    def submit(self, actor: Any, task: Any, shared: Any, key: Key) -> Ticket:
        """Begin a task's work for one key on an actor. The ticket is for the pair of a result and its `Record`."""

    def wait(self, tickets: Iterable[Ticket], timeout_s: float) -> list[Ticket]:
        """Those of the tickets that have a result, as soon as there is one, or none after the timeout."""

    def result(self, ticket: Ticket) -> Any:
        """The result of a ticket that `wait` returned.

        Raises a kind of Lost, StartFailed for a start, or whatever the work itself raised.
        """


class Listener(Protocol):
    """What the pool tells while it works, and asks."""

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        """One line about something that went wrong, and what is done about it, and what to search it by."""

    def check_interrupt(self) -> None:
        """Called at least every second: raises to stop."""


@dataclass(frozen=True)
class PoolSettings:
    """How many actors, and how long to wait."""

    actors: int | None = None  # None: one per CPU
    at_most: int = 1  # ... but not more than this
    item_timeout_s: float | None = None  # None: from what items have taken
    cluster_timeout_s: float = 120.0
    most_executions: int = 20  # of one item, before the run ends: an item may be what kills its actors
