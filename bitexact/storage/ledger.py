"""The ledger: metrics.jsonl, one line an update, and rollouts.jsonl, one line a rollout. What is in it happened.

Lines are appended whole and never changed. An update's rollouts are written before its own line, so that an update is
committed by the one write that adds its line to metrics.jsonl. Reading is free of side effects: a last line without its
end, or damaged lines, are reported and left where they are; only `cut_torn_lines` takes
the beginning of a line off again.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitexact.storage import durable

METRICS, ROLLOUTS, EVENTS = "metrics.jsonl", "rollouts.jsonl", "events.jsonl"
_KINDS: dict[str, dict[str, type]] = {
    METRICS: {"update": int, "weights_digest": str},
    ROLLOUTS: {"update": int, "index": int, "digest": str, "reward": int},
    EVENTS: {"wall_time_s": float, "update": int, "event": str},
}
_NOTHING = "recorded digest"  # where no array differs, but the digest of all does
_STEP = {METRICS: 1, ROLLOUTS: 0}  # by how much a line's update is above that of the line before it, at least
Line = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """All that is recorded of one update."""

    update: Line
    rollouts: dict[int, Line]  # by index


def first_difference(a: Entry, b: Entry) -> str:
    """What differs first between two entries of one update, in words; empty if nothing does."""
    for index in sorted(a.rollouts.keys() | b.rollouts.keys()):
        ours, theirs = a.rollouts.get(index), b.rollouts.get(index)
        if ours is None or theirs is None:
            return f"rollout {index}, which only one of them has"
        if ours["digest"] != theirs["digest"]:
            return f"rollout {index}, in its {_first_name(ours.get('arrays', {}), theirs.get('arrays', {}))}"
        if (name := _first_name(_to_the_bit(ours), _to_the_bit(theirs))) != _NOTHING:
            return f"rollout {index}, in its {name}"
    if a.update["weights_digest"] != b.update["weights_digest"]:
        name = _first_name(a.update.get("array_digests", {}), b.update.get("array_digests", {}))
        return f"its {name}" + (", although its rollouts are equal" if a.rollouts else "")
    return ""


def _first_name(digests: Line, others: Line) -> str:
    """The first name under which two sets of values differ."""
    names = [*digests, *(name for name in others if name not in digests)]
    return next((name for name in names if digests.get(name) != others.get(name)), _NOTHING)


def _to_the_bit(rollout: Line) -> Line:
    """What a rollout's line says that is the same on every machine: its loss is a statistic, made with a logarithm."""
    return {name: value for name, value in rollout.items() if name != "loss"}


def irregularities(directory: Path) -> list[str]:
    """What is wrong with a ledger's order, a sentence each: updates count from 1, each of them and its rollouts once.

    The last update's rollouts may be there without its line: it is not committed yet.
    """
    ledger = Ledger(directory)
    found = list(ledger.damage)
    for expected, line in enumerate(ledger.lines(METRICS), start=1):
        if line["update"] != expected:
            found.append(f"{METRICS} line {expected} is of update {line['update']}")
    names = [(line["update"], line["index"]) for line in ledger.lines(ROLLOUTS)]
    found += [f"{ROLLOUTS} holds rollout {name} {count} times" for name, count in Counter(names).items() if count > 1]
    for update, line in ledger.updates.items():
        indices = sorted(ledger.rollouts.get(update, {}))
        if indices != list(range(line["rollouts"])):
            found.append(f"update {update} has the rollouts {indices}")
    return found


class Ledger:
    """The two files of a run directory, as they were when it was read and with what was committed since."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.damage: list[str] = []  # one sentence each
        self.updates: dict[int, Line] = {}
        self.rollouts: dict[int, dict[int, Line]] = {}  # by update, then index
        for line in self.lines(METRICS):
            self.updates[line["update"]] = line
        for line in self.lines(ROLLOUTS):
            self.rollouts.setdefault(line["update"], {})[line["index"]] = line

    @property
    def last_update(self) -> int:
        """The last update committed; 0 if there is none."""
        return max(self.updates, default=0)

    def entry(self, update: int) -> Entry:
        """What is recorded of an update. Raises KeyError where its line is missing or damaged."""
        return Entry(self.updates[update], self.rollouts.get(update, {}))

    def digest(self, update: int) -> str | None:
        """The recorded digest of an update, if its line is there and sound."""
        line = self.updates.get(update)
        return line["weights_digest"] if line else None

    def last_rewards(self, update: int, count: int) -> list[int]:
        """The rewards of the last rollouts up to an update, oldest first."""
        rewards: list[int] = []
        while len(rewards) < count and update in self.rollouts:
            lines = self.rollouts[update]
            rewards = [lines[index]["reward"] for index in sorted(lines)] + rewards
            update -= 1
        return rewards[-count:]

    def commit(self, metrics: Line, rollouts: list[Line]) -> None:
        """Append an update and its rollouts, as far as they are not recorded yet. Raises DiskRefused."""
        update = metrics["update"]
        recorded = self.rollouts.get(update, {})
        new = [line for line in rollouts if line["index"] not in recorded]
        if new and update > self.last_update:
            durable.append(self._directory / ROLLOUTS, b"".join(map(_encode, new)))
        if update > self.last_update:
            durable.append(self._directory / METRICS, _encode(metrics))
            self.updates[update] = metrics

    def add_event(self, line: Line) -> None:
        """Append to events.jsonl, which is told of a run and decides nothing. Raises DiskRefused."""
        durable.append(self._directory / EVENTS, _encode(line))

    def events(self) -> list[Line]:
        """What went wrong and was mended, in order."""
        return self.lines(EVENTS)

    def forget_before(self, update: int) -> None:
        """Drop earlier updates' lines from memory; the files keep them."""
        self.updates = {number: line for number, line in self.updates.items() if number >= update}
        self.rollouts = {number: lines for number, lines in self.rollouts.items() if number >= update}

    def cut_torn_lines(self, tell: Callable[[str], None]) -> None:
        """Take off the beginning of a line that a killed driver left at a file's end."""
        for name in (METRICS, ROLLOUTS, EVENTS):
            path = self._directory / name
            data = path.read_bytes() if path.exists() else b""
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                tell(f"{path} ended in the middle of a line: {len(data) - whole} bytes cut off")
                durable.truncate(path, whole)

    def clear(self) -> None:
        """Delete both files."""
        for name in (METRICS, ROLLOUTS, EVENTS):
            durable.delete(self._directory / name)

    def lines(self, name: str) -> list[Line]:
        """The sound lines of one of the files, in order; what is not sound is added to the damage."""
        path = self._directory / name
        data = path.read_bytes() if path.exists() else b""
        decoded = [_decode(text, _KINDS[name]) for text in data.split(b"\n")[:-1]]
        if name in _STEP:
            decoded = _in_order(decoded, _STEP[name])
        lines = []
        for number, line in enumerate(decoded, start=1):
            if line is None:
                self.damage.append(f"{path} line {number} is damaged and is not used")
            else:
                lines.append(line)
        return lines


def _encode(line: Line) -> bytes:
    return json.dumps(line).encode() + b"\n"


def _decode(text: bytes, kinds: dict[str, type]) -> Line | None:
    try:
        line = json.loads(text)
        return line if all(isinstance(line[key], kind) for key, kind in kinds.items()) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _in_order(lines: list[Line | None], step: int) -> list[Line | None]:
    """The lines, less those whose update cannot be: one number altered must not hide the updates that come after it.

    Updates ascend one by one; a damaged line may have been two, if the end between them was what was damaged. A longer
    leap is believed if the next line bears it out: then lines were taken away.
    """
    ordered: list[Line | None] = []
    last, reach = 0, 1
    for line, following in itertools.zip_longest(lines, lines[1:]):
        update = line["update"] if line else 0
        fits = line is not None and update >= last + step
        if fits and update > last + reach:
            fits = following is not None and following["update"] >= update + step
        ordered.append(line if fits else None)
        last, reach = (update, 1) if fits else (last, reach + 2)
    return ordered
