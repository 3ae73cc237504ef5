"""How long an item may take, judged by what items have taken, and what of that time nobody was looking."""

from collections import Counter, deque

from bitexact.cluster.work_queue import Item

FIRST_DEADLINE_S = 120.0  # while no item has been completed
SHORTEST_DEADLINE_S = 10.0
DEADLINE_FACTOR = 4.0  # times the longest of the recent items
RECENT_ITEMS = 100
MOST_DOUBLINGS = 6  # of an item's deadline: 64 times the usual one
LONGEST_ROUND_S = 5.0  # from one wait to the next; longer, and this process stood still or its caller was busy


class Deadlines:
    """The time limits of one pool's items. An item past its own is raced, past twice that its actor is killed.

    Each kill doubles the item's deadline, so that one which takes longer than any before it comes to its end as well;
    but not without end.
    """

    def __init__(self, item_timeout_s: float | None) -> None:
        """`item_timeout_s` is every item's deadline; None for one that follows what items take."""
        self._item_timeout_s = item_timeout_s
        self.recent_s: deque[float] = deque(maxlen=RECENT_ITEMS)
        self.kills: Counter[Item] = Counter()

    def begin_batch(self) -> None:
        """Forget the items of batches before."""
        self.kills.clear()

    def completed(self, seconds: float) -> None:
        """An item has taken so long."""
        self.recent_s.append(seconds)

    def killed(self, item: Item) -> None:
        """An item's actor was killed for it."""
        self.kills[item] += 1

    def usual_s(self) -> float:
        """How long an item may take at first."""
        if self._item_timeout_s:
            return self._item_timeout_s
        if not self.recent_s:
            return FIRST_DEADLINE_S
        return max(SHORTEST_DEADLINE_S, DEADLINE_FACTOR * max(self.recent_s))

    def of(self, item: Item) -> float:
        """How long this item may take before it is raced, in seconds."""
        return self.usual_s() * 2.0 ** min(self.kills[item], MOST_DOUBLINGS)


class Attention:
    """Knows when the pool looked: time in which nobody looked at answers is not held against those who gave them."""

    def __init__(self, now: float) -> None:
        """Begin to look at a time."""
        self._looked_at = now

    def absent_s(self, now: float) -> float:
        """Seconds since the last look, if they are too many to be the pool's own work; else 0."""
        absent_s, self._looked_at = now - self._looked_at, now
        return absent_s if absent_s > LONGEST_ROUND_S else 0.0
