"""The items that wait for an actor, dealt out so that neighbours are computed on one node."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from bitexact.cluster.interface import Key


class Item(NamedTuple):
    """One piece of work of one batch."""

    batch: int  # a late result must not be taken for one of a later batch, whose keys may be the same
    task: Any
    key: Key

    def __str__(self) -> str:
        return str(self.key)


class WorkQueue:
    """Items that wait for an actor. Each node has a stretch of them, so that neighbours are computed on one node.

    What is made of neighbours, such as their sum, can then be made there.
    """

    def __init__(self, items: Sequence[Item] = (), actors: Mapping[str, int] | None = None) -> None:
        """Deal items out by how many actors each node has, `actors` by node."""
        self._stretches: dict[str, deque[Item]] = {}
        actors, end, counted = actors or {}, 0, 0
        for node_id, count in actors.items():
            begin, counted = end, counted + count
            end = len(items) * counted // sum(actors.values())
            self._stretches[node_id] = deque(items[begin:end])
        self._anyones = deque(items[end:])  # all, while there is no actor

    def pop(self, node_id: str) -> Item:
        """The next for an actor on a node: of its own stretch, or else of the end of the longest."""
        if self._anyones:
            return self._anyones.popleft()
        own = self._stretches.get(node_id)
        return own.popleft() if own else max(self._stretches.values(), key=len).pop()

    def appendleft(self, item: Item) -> None:
        """Put an item before all others."""
        self._anyones.appendleft(item)

    def remove(self, item: Item) -> None:
        """Take an item out."""
        next(items for items in (self._anyones, *self._stretches.values()) if item in items).remove(item)

    def __contains__(self, item: Item) -> bool:
        return item in self._anyones or any(item in items for items in self._stretches.values())

    def __bool__(self) -> bool:
        return bool(self._anyones) or any(self._stretches.values())
