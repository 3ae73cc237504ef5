"""Which faults, when and at what: all drawn from one seed before the first of them strikes.

    for fault in draw(seed=7, count=30):
        print(fault)

Targets are ranks, resolved among what is alive when the fault strikes: the schedule of a seed is always the same, what
it meets is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from random import Random
from typing import Literal

NODES_AT_FIRST, MOST_NODES = 2, 3  # with a CPU each; the head, which has none, is never a target
ROLLOUT_TIMEOUT_S = 3.0  # the training's: a rollout is raced after it, its actor killed after twice as long


class Kind(Enum):
    """What can happen. The texts are the rows of the table."""

    ACTOR_KILLED = "actor killed"
    ACTOR_FROZEN = "actor frozen for good"
    ACTOR_FROZEN_A_WHILE = "actor frozen for a while"
    NODE_KILLED = "node killed"
    NODE_FROZEN = "node's raylet frozen for good"
    RAYLET_FROZEN_A_WHILE = "raylet frozen for a while"
    HEAD_FROZEN_A_WHILE = "head frozen for a while"
    HEAD_FROZEN = "head frozen until the driver gives up"
    NODE_ADDED = "node added"
    NODE_ADDED_FAILING = "node added, its RPCs fail"
    DRIVER_KILLED = "driver killed and resumed"
    DRIVER_RESUMED_FAILING = "driver killed and resumed, its RPCs fail"
    CHECKPOINT_TORN = "driver killed, checkpoint torn, resumed"
    LEDGER_TORN = "driver killed, ledger torn, resumed"


ACTOR_FAULTS = (Kind.ACTOR_KILLED, Kind.ACTOR_FROZEN, Kind.ACTOR_FROZEN_A_WHILE)
NODE_LOSSES = (Kind.NODE_KILLED, Kind.NODE_FROZEN)
NODE_ADDITIONS = (Kind.NODE_ADDED, Kind.NODE_ADDED_FAILING)
DRIVER_KILLS = (Kind.DRIVER_KILLED, Kind.DRIVER_RESUMED_FAILING, Kind.CHECKPOINT_TORN, Kind.LEDGER_TORN)

Profile = Literal["even", "published"]

# Kinds are dealt from such decks: each comes up in proportion, and as many nodes are added as are lost.
_EVEN = {
    Kind.ACTOR_KILLED: 7,
    Kind.ACTOR_FROZEN: 2,
    Kind.ACTOR_FROZEN_A_WHILE: 4,
    Kind.NODE_KILLED: 2,
    Kind.NODE_FROZEN: 1,
    Kind.RAYLET_FROZEN_A_WHILE: 1,
    Kind.HEAD_FROZEN_A_WHILE: 1,
    Kind.HEAD_FROZEN: 1,
    Kind.NODE_ADDED: 2,
    Kind.NODE_ADDED_FAILING: 1,
    Kind.DRIVER_KILLED: 2,
    Kind.DRIVER_RESUMED_FAILING: 1,
    Kind.CHECKPOINT_TORN: 2,
    Kind.LEDGER_TORN: 1,
}
# In the proportions of a large training's 419 unexpected interruptions (Llama Team, "The Llama 3 Herd of Models", 2024,
# table 5), as far as they can be brought about here: docs/faults.md has the mapping. A node is added for each lost one.
_PUBLISHED = {
    Kind.ACTOR_KILLED: 44,
    Kind.DRIVER_KILLED: 9,
    Kind.NODE_KILLED: 7,
    Kind.NODE_ADDED: 7,
    Kind.RAYLET_FROZEN_A_WHILE: 7,
    Kind.ACTOR_FROZEN: 1,
    Kind.CHECKPOINT_TORN: 1,
}
_DECKS: dict[Profile, dict[Kind, int]] = {"even": _EVEN, "published": _PUBLISHED}


@dataclass(frozen=True)
class Fault:
    """One fault. Every value is drawn for every fault; its kind decides which are used."""

    number: int
    kind: Kind
    waits_for_update: bool  # strikes once a new update was committed after the fault before, not while that is mended
    delay_s: float
    rank: int  # of the target, modulo how many there are
    frozen_s: float
    rest_s: float  # before anything else happens
    away_s: float  # from the driver's death to its resumption
    torn_at: float  # in [0, 1), of a file's length
    cuts: bool  # a checkpoint is cut off there; or else a bit of it is flipped
    spares_workers: bool  # only a node's raylet is killed, and what it had started has to notice
    failing_percent: tuple[int, int, int]  # of RPCs: requests lost, replies lost, failed though under way


def draw(seed: int, count: int, profile: Profile = "even") -> list[Fault]:
    """The first `count` faults of a seed. Another count begins with the same ones."""
    random = Random(seed)
    deals = enumerate(islice(_deal(random, _DECKS[profile]), count), start=1)
    return [_fault(number, kind, nodes, random) for number, (kind, nodes) in deals]


def _deal(random: Random, copies_of: dict[Kind, int]) -> Iterator[tuple[Kind, int]]:
    """Kinds without end, each with the number of nodes that it meets."""
    nodes = NODES_AT_FIRST
    while True:
        deck = [kind for kind, copies in copies_of.items() for _ in range(copies)]
        while deck:
            kind = random.choice([kind for kind in deck if _can_strike(kind, nodes)])
            deck.remove(kind)
            yield kind, nodes
            nodes += (kind in NODE_ADDITIONS) - (kind in NODE_LOSSES)


def _can_strike(kind: Kind, nodes: int) -> bool:
    """Without a node there is nothing to strike at: one is added first."""
    if nodes == 0:
        return kind in NODE_ADDITIONS
    return nodes < MOST_NODES or kind not in NODE_ADDITIONS


def _fault(number: int, kind: Kind, nodes: int, random: Random) -> Fault:
    # Thawed while its rollout is computed elsewhere, or just after, but before its actor is killed: it comes late.
    comes_late = random.random() < 0.8
    frozen_s = ROLLOUT_TIMEOUT_S * (random.uniform(1.2, 1.4) if comes_late else random.uniform(0.1, 2.5))
    rests = kind is Kind.HEAD_FROZEN_A_WHILE or (kind is Kind.ACTOR_FROZEN_A_WHILE and comes_late)
    waits = random.random() < 0.6 or kind is Kind.HEAD_FROZEN  # a driver that has not joined would not have to give up
    return Fault(
        number=number,
        kind=kind,
        waits_for_update=waits and nodes > 0,  # without a node there is no update to wait for
        delay_s=random.uniform(0.0, 2.0),
        rank=random.randrange(2**16),
        frozen_s=frozen_s,
        rest_s=frozen_s + 1.0 if rests else 0.0,
        away_s=random.uniform(0.0, 1.5),
        torn_at=random.random(),
        cuts=random.random() < 0.5,
        spares_workers=random.random() < 0.5,
        failing_percent=(random.randint(0, 3), random.randint(0, 3), random.randint(1, 3)),
    )
