"""A file of lines, of any length: read forward from a place, from its end, or from where a number is. Bounded memory.

Each line is a JSON object with an "update" that never falls, so that a line is found by bisection: no index is kept,
and nothing reads all of a file to find its end. What is not sound is passed over and named. A last line without its
end is not there: whoever writes it has not finished, or was killed.
"""

import itertools
import json
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from bitexact.cli.exits import BadInput
from bitexact.storage import untrusted
from bitexact.storage.untrusted import LONGEST_LINE

_TAIL = 1 << 18  # bytes that are read from a file's end, or where a bisection ends
_PROBED = 8  # sound lines that a bisection looks at in one place: an altered number among them misleads nobody
_LARGEST_BITS = 1023  # of a whole number that is certainly below the largest float64
_MOST_NAMED = 100  # damaged lines; of a file that is none of ours, not every line need be named
Line = dict[str, Any]
Placed = tuple[int, Line | None]  # where a line begins, and what it says, if that is sound


class Lines:
    """One file of lines. `kinds` are the keys that a sound line has, with their types.

    `step` is by how much a line's update is above that of the line before it, at least; None if it may fall.
    """

    def __init__(self, path: Path, kinds: dict[str, type], step: int | None) -> None:
        self._path, self._kinds, self._step = path, kinds, step
        self.damage: list[str] = []  # one sentence each, of what has been read so far
        self._named: set[int] = set()  # where the lines begin that are named in it
        self._counted = (0, 1)  # a place, and the number of the line that begins there

    def size(self) -> int:
        """Its bytes; 0 if there is none. Raises BadInput if something else has its name."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise self._unreadable(error.strerror) from None
        if not stat.S_ISREG(found.st_mode):
            raise self._unreadable("it is no file")
        return found.st_size

    def sound(self, first: int | None = None, stop: int | None = None) -> Iterator[Line]:
        """The sound lines in order, of updates from `first` on where that is given, as far as byte `stop`."""
        stop = self.size() if stop is None else stop
        start = 0 if first is None else self._place_of(first, stop)
        return (line for line in self._sound(start, stop) if first is None or line["update"] >= first)

    def last_update(self) -> int:
        """The last sound line's update; 0 if there is none."""
        size, length = self.size(), _TAIL
        while True:
            start = max(0, size - length)
            last = 0
            for line in self._sound(start, size):
                last = line["update"]
            if last or not start:
                return last
            length *= 8  # all of that was damage

    def torn(self) -> int:
        """How many bytes the beginning of a line takes at the end; 0 where the file ends with a line."""
        size = end = self.size()
        while end:
            start = max(0, end - _TAIL)
            with self._open() as file:
                file.seek(start)
                found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return size - (start + found + 1)
            end = start
        return size

    def _sound(self, start: int, stop: int) -> Iterator[Line]:
        in_step = not start  # in the middle, the first lines cannot be judged: nothing is known of those before
        for place, line in self._placed(start, stop):
            if line is not None:
                in_step = True
                yield line
            elif in_step:
                self._name(place)

    def _placed(self, start: int, stop: int) -> Iterator[Placed]:
        """The lines that begin between two places, each with its own; those in doubt as None."""
        if not stop:
            return
        with self._open() as file:
            decoded = ((place, _decode(text, self._kinds)) for place, text in _forward(file, start, stop))
            yield from decoded if self._step is None else in_order(decoded, self._step)

    def _place_of(self, update: int, size: int) -> int:
        """A place such that no line of this update or a later one begins before it, and few do between."""
        low, high = 0, size
        while high - low > _TAIL:
            middle = (low + high) // 2
            if self._reached_at(middle, high) < update:
                low = middle
            else:
                high = middle
        return low

    def _reached_at(self, place: int, stop: int) -> float:
        """The update that has been reached some sound lines after a place; infinite if there is none to know it by."""
        reached = [line["update"] for _, line in itertools.islice(self._placed_sound(place, stop), _PROBED)]
        return reached[-1] if reached else float("inf")

    def _placed_sound(self, start: int, stop: int) -> Iterator[tuple[int, Line]]:
        return ((place, line) for place, line in self._placed(start, stop) if line is not None)

    def _name(self, place: int) -> None:
        if place in self._named or len(self._named) > _MOST_NAMED:
            return
        self._named.add(place)
        if len(self._named) > _MOST_NAMED:
            self.damage.append(f"{self._path} has more damaged lines, which are not used")
        else:
            self.damage.append(f"{self._path} line {self._number(place)} is damaged and is not used")

    def _number(self, place: int) -> int:
        """The number of the line that begins there, counted from 1: ends of lines before it, read block by block."""
        at, number = self._counted if self._counted[0] <= place else (0, 1)
        with self._open() as file:
            file.seek(at)
            while at < place and (block := file.read(min(_TAIL, place - at))):
                number += block.count(b"\n")
                at += len(block)
        self._counted = (place, number)
        return number

    def _open(self) -> BinaryIO:
        try:
            return self._path.open("rb")
        except OSError as error:
            raise self._unreadable(error.strerror) from None

    def _unreadable(self, why: str | None) -> BadInput:
        return BadInput(f"{self._path} cannot be read ({why}): put the run's own back, or name another run.")


def in_order(lines: Iterable[Placed], step: int) -> Iterator[Placed]:
    """The lines, less those whose update cannot be: one number altered must not hide the updates that come after it.

    Updates ascend one by one; a damaged line may have been two, if the end between them was what was damaged. A longer
    leap is believed if the next line bears it out: then lines were taken away, or reading begins in the middle.
    """
    last, reach = 0, 1
    for (place, line), following in _with_the_next(lines):
        update = line["update"] if line else 0
        fits = line is not None and update >= last + step
        if fits and update > last + reach:
            fits = following is not None and following["update"] >= update + step
        yield place, line if fits else None
        last, reach = (update, 1) if fits else (last, reach + 2)


def encode(line: Line) -> bytes:
    """A line as it is written."""
    return json.dumps(line).encode() + b"\n"


def _decode(text: bytes, kinds: dict[str, type]) -> Line | None:
    try:
        line = untrusted.parse(text)
        return line if isinstance(line, dict) and all(_is(line[key], kind) for key, kind in kinds.items()) else None
    except (ValueError, KeyError):
        return None


def _is(value: object, kind: type) -> bool:
    """Whether a value is of a kind: a whole number that fits is one with a fraction, too; true is none."""
    if kind is float and isinstance(value, int):
        return not isinstance(value, bool) and value.bit_length() <= _LARGEST_BITS
    return isinstance(value, kind) and not isinstance(value, bool)


def _forward(file: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
    """The whole lines that begin from `start` on and end before `stop`; one that is too long as an empty one."""
    place = start
    if start:
        file.seek(start - 1)
        place = start - 1 + _pass_over(file)[0]
    file.seek(place)
    while place < stop:
        text = file.readline(LONGEST_LINE)
        length = len(text)
        if length == LONGEST_LINE and not text.endswith(b"\n"):
            rest, text = _pass_over(file)
            length += rest
        if place + length > stop or not text.endswith(b"\n"):
            return
        yield place, text[:-1]
        place += length


def _pass_over(file: BinaryIO) -> tuple[int, bytes]:
    """Read to the end of a line, or of the file: so many bytes, and the end, if it is one."""
    length = 0
    while part := file.readline(LONGEST_LINE):
        length += len(part)
        if part.endswith(b"\n"):
            return length, b"\n"
    return length, b""


def _with_the_next(lines: Iterable[Placed]) -> Iterator[tuple[Placed, Line | None]]:
    """Each line with what the one after it says."""
    before: Placed | None = None
    for placed in lines:
        if before is not None:
            yield before, placed[1]
        before = placed
    if before is not None:
        yield before, None
