"""How often each item was begun, and what became of it: an item may be what kills its actors."""

from collections import Counter

from bitexact.cli.exits import ClusterLost
from bitexact.cluster.work_queue import Item


class Attempts:
    """Counts the executions of a batch's items, up to a limit."""

    def __init__(self, most: int) -> None:
        """`most` executions may be begun of one item."""
        self._most = most
        self._begun: Counter[Item] = Counter()
        self._seen: dict[Item, Counter[str]] = {}  # what became of executions that brought nothing
        self._most_seen = 0

    def begin_batch(self) -> None:
        """Forget the items of batches before."""
        self._begun.clear()
        self._seen.clear()

    def begin(self, item: Item) -> None:
        """Count one more. Raises ClusterLost, with what was seen each time, when there were too many."""
        if self._begun[item] == self._most:
            seen = ", ".join(f"{count} times {what}" for what, count in self._seen.get(item, Counter()).most_common())
            raise ClusterLost(f"rollout {item} was begun {self._most} times and gave no result: {seen or 'no answer'}.")
        self._begun[item] += 1
        self._most_seen = max(self._most_seen, self._begun[item])

    def fail(self, item: Item, what: str) -> None:
        """An execution has brought nothing."""
        self._seen.setdefault(item, Counter())[what] += 1

    def take_most(self) -> int:
        """The executions of the item that had most of them, since this was last asked."""
        most, self._most_seen = self._most_seen, 0
        return most
