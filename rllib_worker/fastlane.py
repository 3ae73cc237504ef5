"""FastLane: the newest picture of a run's first environment, in shared memory, for whoever looks.

    with fastlane.segment(run):                  # the driver: makes the segment, and takes it away
        ...
    writer = Writer.at(path_of(run), 50)         # the process that plays the first environment
    writer.offer(game.render)                    # draws only while somebody reads, at most every 50 ms
    frame = Reader(path_of(run)).newest()        # a whole frame that was not read before, or None

A segment is a file in /dev/shm, read and written as one; mapping it is the same. Little-endian:

    0     8 bytes  "FASTLANE"
    8     u64      number of the newest frame; 0: none yet
    16    f64      when a reader last looked, on the machine's monotonic clock: a reader writes it
    4096  the slot of even frames; 4096 + 8 MiB: of odd ones
          u64 number, f64 seconds since 1970, u32 height, u32 width, u64 XXH3 of these and the pixels; then height x
          width x 3 bytes of red, green and blue

A frame is written into the slot that the newest is not in, and then named as the newest. One that is torn all the same,
since the reader was slow, has another digest and is not shown. The driver holds a lock (flock) of the segment, which
the kernel takes from a dead one: the next start of any run deletes what nobody holds. Nothing here knows Ray.
"""

import contextlib
import fcntl
import os
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

from bitexact.cli.exits import BadInput

READING_S = 2.0  # so long after its last look a reader counts as one
_SHARE = 0.02  # of its time that the process may spend on frames: some games take 15 ms to draw one
_ROOM = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
_PREFIX = f"rllib_worker-{os.getuid()}-"
_MAGIC = b"FASTLANE"
_NEWEST, _READ_AT = struct.Struct("<Q"), struct.Struct("<d")
_NEWEST_AT, _READ_AT_AT = 8, 16
_SLOTS_AT, _SLOT_BYTES = 4096, 8 << 20
_FRAME, _DIGEST = struct.Struct("<QdII"), struct.Struct("<Q")
_HEAD_BYTES = _FRAME.size + _DIGEST.size
_TRIES = 100  # to lock a segment that others look at
_TRY_AGAIN_S = 0.01


@dataclass(frozen=True)
class Frame:
    """One picture."""

    number: int
    time: float  # seconds since 1970
    pixels: np.ndarray  # height x width x 3, uint8


def path_of(run: Path) -> Path:
    """Where the segment of a run is, while the run is trained."""
    place = run.resolve()
    return _ROOM / f"{_PREFIX}{place.name}-{xxhash.xxh3_64_hexdigest(os.fsencode(place))}"


@contextlib.contextmanager
def segment(run: Path) -> Iterator[None]:
    """The segment of a run that this process trains, until the block ends. Raises BadInput if there can be none."""
    clear()
    try:
        descriptor = _made(path_of(run))
    except OSError as error:
        raise BadInput(
            f"fastlane_enabled: {path_of(run)} cannot be made ({error.strerror}); set it to false."
        ) from None
    try:
        yield
    finally:
        remove(run)
        os.close(descriptor)


def remove(run: Path) -> None:
    """Delete the segment of a run that this process trains, if it has one."""
    path_of(run).unlink(missing_ok=True)


def clear() -> None:
    """Delete the segments whose drivers are gone: of runs that were killed."""
    for path in _ROOM.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), _opened(path) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its driver lives
            if _is_at(descriptor, path):
                path.unlink()


def _made(path: Path) -> int:
    """A new segment's descriptor, locked. It is whoever locks it that it belongs to: another start may clear it."""
    for _ in range(_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                os.ftruncate(descriptor, _SLOTS_AT + 2 * _SLOT_BYTES)  # takes no memory before it is written to
                os.pwrite(descriptor, _MAGIC, 0)
                return descriptor
        os.close(descriptor)
        time.sleep(_TRY_AGAIN_S)
    raise BlockingIOError(0, "another process holds it")


class Writer:
    """The one that writes frames. Frames are never worth a run: one that cannot be written is left out."""

    def __init__(self, descriptor: int, throttle_ms: int) -> None:
        self._descriptor, self._throttle_s = descriptor, throttle_ms / 1000
        (self._number,) = _NEWEST.unpack(os.pread(descriptor, _NEWEST.size, _NEWEST_AT))  # a runner's before this one
        self._next = 0.0

    @classmethod
    def at(cls, path: Path, throttle_ms: int) -> "Writer | None":
        """A writer into the segment there, if there is one."""
        try:
            return cls(os.open(path, os.O_RDWR | os.O_NOFOLLOW), throttle_ms)
        except FileNotFoundError:
            return None

    def offer(self, draw: Callable[[], np.ndarray]) -> None:
        """Draw and publish a frame, if somebody reads and the last one is old enough for what it cost."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + self._throttle_s
        (read_at,) = _READ_AT.unpack(os.pread(self._descriptor, _READ_AT.size, _READ_AT_AT))
        if now - read_at < READING_S:
            began = time.thread_time()
            self.publish(draw())
            self._next = now + max(self._throttle_s, (time.thread_time() - began) / _SHARE)

    def publish(self, pixels: np.ndarray) -> None:
        """Write a frame (height x width x 3, uint8), and name it as the newest; of one too large every other pixel."""
        while pixels.size > _SLOT_BYTES - _HEAD_BYTES:
            pixels = pixels[::2, ::2]
        number, data = self._number + 1, np.ascontiguousarray(pixels).tobytes()
        head = _FRAME.pack(number, time.time(), pixels.shape[0], pixels.shape[1])
        with contextlib.suppress(OSError):  # no room
            parts = [head, _DIGEST.pack(_digest(head, data)), data]
            if os.pwritev(self._descriptor, parts, _slot_at(number)) == _HEAD_BYTES + len(data):
                os.pwrite(self._descriptor, _NEWEST.pack(number), _NEWEST_AT)
                self._number = number


class Reader:
    """One of any number that read. Each look asks the writer to go on drawing for a while."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, 0
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except OSError as error:
            raise BadInput(f"{path} cannot be read ({error.strerror}): is the run training here?") from None
        if os.pread(self._descriptor, len(_MAGIC), 0) != _MAGIC:
            raise BadInput(f"{path} is no segment of frames: delete it.")

    def newest(self) -> Frame | None:
        """The newest frame; None if it was read before, or is not whole."""
        os.pwrite(self._descriptor, _READ_AT.pack(time.monotonic()), _READ_AT_AT)
        (number,) = _NEWEST.unpack(os.pread(self._descriptor, _NEWEST.size, _NEWEST_AT))
        if number == self._read:
            return None
        frame = self._whole(number)
        if frame is not None:
            self._read = number
        return frame

    def is_over(self) -> bool:
        """Whether the run's driver has ended, in whatever way."""
        if not _is_at(self._descriptor, self._path):
            return True
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return True

    def _whole(self, number: int) -> Frame | None:
        at = _slot_at(number)
        start = os.pread(self._descriptor, _HEAD_BYTES, at)
        head = start[: _FRAME.size]
        found, when, height, width = _FRAME.unpack(head)
        size = height * width * 3
        if found != number or size > _SLOT_BYTES - _HEAD_BYTES:
            return None
        data = os.pread(self._descriptor, size, at + _HEAD_BYTES)
        if _digest(head, data) != _DIGEST.unpack(start[_FRAME.size :])[0]:
            return None
        return Frame(number, when, np.frombuffer(data, np.uint8).reshape(height, width, 3))


def _slot_at(number: int) -> int:
    return _SLOTS_AT + number % 2 * _SLOT_BYTES


def _digest(head: bytes, data: bytes) -> int:
    return xxhash.xxh3_64_intdigest(head + data)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
