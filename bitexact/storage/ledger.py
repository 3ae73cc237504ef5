"""The ledger: metrics.jsonl, one line an update, and rollouts.jsonl, one line a rollout. What is in it happened.

Lines are appended whole and never changed. An update's rollouts are written before its own line, so that an update is
committed by the one write that adds its line to metrics.jsonl. Reading is free of side effects, and takes as much time
and memory as what is asked for, not as the run is long: a last line without its end, or damaged lines, are reported and
left where they are; only `cut_torn_lines` takes the beginning of a line off again.
"""

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

from bitexact.storage import durable
from bitexact.storage.lines import Line, Lines, encode

METRICS, ROLLOUTS, EVENTS = "metrics.jsonl", "rollouts.jsonl", "events.jsonl"
_KINDS: dict[str, dict[str, type]] = {
    METRICS: {"update": int, "weights_digest": str},
    ROLLOUTS: {"update": int, "index": int, "digest": str, "reward": int},
    EVENTS: {"wall_time_s": float, "update": int, "event": str},
}
_STEP = {METRICS: 1, ROLLOUTS: 0, EVENTS: None}
_MOST_IRREGULARITIES = 20  # that are named: one line lost early shifts the numbers of all after it


@dataclass(frozen=True)
class Entry:
    """All that is recorded of one update; its own line is empty where that is missing or damaged."""

    metrics: Line
    rollouts: dict[int, Line]  # by index

    @property
    def number(self) -> int:
        """The update's number; 0 of an empty entry."""
        lines = [self.metrics] if self.metrics else [*self.rollouts.values()]
        return int(lines[0]["update"]) if lines else 0

    @property
    def digest(self) -> str | None:
        """The digest of the state after it, if that is recorded."""
        return self.metrics.get("weights_digest")

    @property
    def rollouts_said(self) -> int:
        """How many rollouts its own line says that it has."""
        said = self.metrics.get("rollouts", 0)
        return said if isinstance(said, int) else 0


class Ledger:
    """The files of a run directory: read where something is asked for, and appended to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lines = {name: Lines(directory / name, _KINDS[name], _STEP[name]) for name in _KINDS}
        self.last_update = self._lines[METRICS].last_update()  # committed; 0 if there is none
        self._last_played = self._lines[ROLLOUTS].last_update()

    @property
    def damage(self) -> list[str]:
        """The damaged lines among those read so far, a sentence each; at first the files' ends have been."""
        return [sentence for lines in self._lines.values() for sentence in lines.damage]

    def lines(self, name: str) -> Iterator[Line]:
        """The sound lines of one of the files, in order; what is not sound is added to the damage."""
        return self._lines[name].sound()

    def entries(self, first: int = 1) -> Iterator[Entry]:
        """The entries of updates from `first` on, in order, as many as are there now; of damaged ones what is sound."""
        stops = {name: self._lines[name].size() for name in (METRICS, ROLLOUTS)}  # in this order: both may be growing
        sound = {name: self._lines[name].sound(first if first > 1 else None, stop) for name, stop in stops.items()}
        updates = ((line["update"], METRICS, line) for line in sound[METRICS])
        rollouts = ((line["update"], ROLLOUTS, line) for line in sound[ROLLOUTS])
        for _, both in itertools.groupby(heapq.merge(updates, rollouts, key=itemgetter(0)), itemgetter(0)):
            entry = Entry({}, {})
            for _, name, line in both:
                if name == METRICS:
                    entry.metrics.update(line)
                else:
                    entry.rollouts[line["index"]] = line
            yield entry

    def entry(self, update: int) -> Entry:
        """What is recorded of an update; an empty entry if nothing is."""
        found = None
        if 1 <= update <= max(self.last_update, self._last_played):
            found = next(self.entries(update), None)
        return found if found and found.number == update else Entry({}, {})

    def digest(self, update: int) -> str | None:
        """The recorded digest of an update, if its line is there and sound."""
        return self.entry(update).digest

    def last_rewards(self, update: int, count: int) -> list[int]:
        """The rewards of the last rollouts up to an update, oldest first; of none before one that is not recorded."""
        span, rewards = 1, list[int]()
        while True:
            first = max(1, update - span + 1)
            rewards = self._rewards(first, update)
            if len(rewards) >= count or len(rewards) < span or first == 1:
                return rewards[-count:]
            span *= 4

    def _rewards(self, first: int, last: int) -> list[int]:
        """Those of some updates, less all up to a gap between them."""
        rewards: list[int] = []
        expected = first
        for entry in itertools.takewhile(lambda entry: entry.number <= last, self.entries(first)):
            rewards = rewards if entry.number == expected and entry.rollouts else []
            rewards += [entry.rollouts[index]["reward"] for index in sorted(entry.rollouts)]
            expected = entry.number + 1
        return rewards if expected == last + 1 else []

    def commit(self, metrics: Line, rollouts: list[Line]) -> None:
        """Append an update and its rollouts, as far as they are not recorded yet. Raises DiskRefused."""
        update = metrics["update"]
        if update <= self.last_update:
            return
        recorded = self.entry(update).rollouts
        new = [line for line in rollouts if line["index"] not in recorded]
        if new:
            durable.append(self._directory / ROLLOUTS, b"".join(map(encode, new)))
        durable.append(self._directory / METRICS, encode(metrics))
        self.last_update = update

    def add_event(self, line: Line) -> None:
        """Append to events.jsonl, which is told of a run and decides nothing. Raises DiskRefused."""
        durable.append(self._directory / EVENTS, encode(line))

    def events(self) -> Iterator[Line]:
        """What went wrong and was mended, in order."""
        return self.lines(EVENTS)

    def cut_torn_lines(self, tell: Callable[[str], None]) -> None:
        """Take off the beginning of a line that a killed driver left at a file's end."""
        for name, lines in self._lines.items():
            path, torn = self._directory / name, lines.torn()
            if torn:
                tell(f"{path} ended in the middle of a line: {torn} bytes cut off")
                durable.truncate(path, lines.size() - torn)


def irregularities(directory: Path) -> list[str]:
    """What is wrong with a ledger's order, a sentence each: updates count from 1, each of them and its rollouts once.

    The last update's rollouts may be there without its line: it is not committed yet.
    """
    ledger = Ledger(directory)
    found = itertools.chain(_out_of_order(ledger), _counted_twice(ledger), _incomplete(ledger))
    named = list(itertools.islice(found, _MOST_IRREGULARITIES))
    return ledger.damage + named


def _out_of_order(ledger: Ledger) -> Iterator[str]:
    for expected, line in enumerate(ledger.lines(METRICS), start=1):
        if line["update"] != expected:
            yield f"{METRICS} line {expected} is of update {line['update']}"


def _counted_twice(ledger: Ledger) -> Iterator[str]:
    for update, lines in itertools.groupby(ledger.lines(ROLLOUTS), itemgetter("update")):
        indices = sorted(line["index"] for line in lines)
        for index in sorted({one for one, next_one in itertools.pairwise(indices) if one == next_one}):
            yield f"{ROLLOUTS} holds rollout {(update, index)} {indices.count(index)} times"


def _incomplete(ledger: Ledger) -> Iterator[str]:
    for entry in ledger.entries():
        if not entry.metrics:
            continue
        indices = sorted(entry.rollouts)
        if len(indices) != entry.rollouts_said or (indices and (indices[0], indices[-1]) != (0, len(indices) - 1)):
            yield f"update {entry.number} has the rollouts {indices}"
