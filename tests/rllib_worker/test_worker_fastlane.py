"""Frames in shared memory: whole ones only, drawn for a reader alone, nothing left of them. No run is needed."""

import io
import multiprocessing
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, command, until
from PIL import Image
from worker_runs import small_config

from bitexact.cli.exits import BadInput
from rllib_worker import fastlane, watch
from rllib_worker.config import parse
from rllib_worker.fastlane import Frame, Reader, Writer

FRAMES = 10_000
SHAPE = (120, 160, 3)
_SPAWN = multiprocessing.get_context("spawn")
_DRIVER = """
import sys, time
from pathlib import Path
from rllib_worker import fastlane
with fastlane.segment(Path(sys.argv[1])):
    print("made", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Segments of a test's own, so that no run's are cleared."""
    monkeypatch.setattr(fastlane, "_PREFIX", f"test_worker-{os.getpid()}-")
    return tmp_path


def picture(number: int) -> np.ndarray:
    """A picture that shows its number in every field: a torn one shows two."""
    return np.full(SHAPE, number % 251, np.uint8)


def is_torn(frame: Frame) -> bool:
    return bool((frame.pixels != frame.number % 251).any())


def publish_on(path: Path, enough: Event) -> None:
    """Publish as fast as it goes."""
    writer = Writer(os.open(path, os.O_RDWR), 0)
    number = 0
    while not enough.is_set():
        number += 1
        writer.publish(picture(number))


def tear(path: Path, enough: Event) -> None:
    """A writer with a bug: a frame is named before it is written, into one slot, half at a time."""
    descriptor, number = os.open(path, os.O_RDWR), 0
    while not enough.is_set():
        number += 2
        data = picture(number).tobytes()
        head = struct.pack("<QdII", number, 0.0, *SHAPE[:2])
        os.pwrite(descriptor, head + struct.pack("<Q", fastlane._digest(head, data)), 4096)
        os.pwrite(descriptor, struct.pack("<Q", number), 8)
        os.pwrite(descriptor, data[: len(data) // 2], 4096 + 32)
        os.pwrite(descriptor, data[len(data) // 2 :], 4096 + 32 + len(data) // 2)


@contextmanager
def written(path: Path, by: Callable[[Path, Event], None]) -> Iterator[None]:
    enough = _SPAWN.Event()
    process = _SPAWN.Process(target=by, args=(path, enough))
    process.start()
    try:
        yield
    finally:
        enough.set()
        process.join(30.0)
        assert process.exitcode == 0


def read(reader: Reader, wanted: int, limit_s: float = 250.0) -> list[bool]:
    """Of so many frames, which are torn."""
    end, torn = time.monotonic() + limit_s, []
    while len(torn) < wanted and time.monotonic() < end:
        frame = reader.newest()
        if frame is not None:
            torn.append(is_torn(frame))
    return torn


def test_ten_thousand_frames_read_while_they_are_written_are_whole(room: Path) -> None:
    with fastlane.segment(room):
        path = fastlane.path_of(room)
        with written(path, publish_on):
            assert read(Reader(path), FRAMES) == [False] * FRAMES


def test_a_writer_that_tears_is_caught_by_the_digest_and_without_it_by_this_test(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with fastlane.segment(room):
        path = fastlane.path_of(room)
        with written(path, tear):
            assert not any(read(Reader(path), 500, limit_s=3.0))
            monkeypatch.setattr(fastlane, "_digest", lambda head, data: 0)
            monkeypatch.setattr(fastlane, "_DIGEST", _AnyDigest())
            assert any(read(Reader(path), 500))


class _AnyDigest:
    """As if every digest were the one that is expected."""

    size = 8

    def unpack(self, data: bytes) -> tuple[int]:
        return (0,)


def test_nothing_is_drawn_unless_somebody_reads_nor_more_often_than_was_said(room: Path) -> None:
    drawn = []

    def draw() -> np.ndarray:
        drawn.append(time.monotonic())
        return picture(len(drawn))

    with fastlane.segment(room):
        path = fastlane.path_of(room)
        writer = Writer.at(path, 100)
        assert writer is not None
        for _ in range(10):
            writer.offer(draw)
        assert not drawn
        reader = Reader(path)

        def two() -> bool:
            reader.newest()
            writer.offer(draw)
            return len(drawn) >= 3

        until(two, "three frames")
        assert min(np.diff(drawn)) >= 0.1
    assert reader.is_over()


def test_frames_take_two_per_cent_of_the_time_at_most(room: Path) -> None:
    costs = []

    def draw() -> np.ndarray:
        began = time.thread_time()
        while time.thread_time() - began < 0.01:
            pass
        costs.append(0.01)
        return picture(1)

    with fastlane.segment(room):
        writer, reader = Writer.at(fastlane.path_of(room), 0), Reader(fastlane.path_of(room))
        assert writer is not None
        began = time.monotonic()
        while len(costs) < 4:
            reader.newest()
            writer.offer(draw)
        assert sum(costs[:-1]) <= 0.02 * (time.monotonic() - began)


def test_frames_are_numbered_on_by_the_writer_that_comes_after_a_dead_one(room: Path) -> None:
    with fastlane.segment(room):
        reader = Reader(fastlane.path_of(room))
        for number in (1, 2, 3):
            writer = Writer.at(fastlane.path_of(room), 0)
            assert writer is not None
            writer.publish(picture(number))
            frame = reader.newest()
            assert frame is not None
            assert frame.number == number
            assert not is_torn(frame)
        assert reader.newest() is None
        assert not reader.is_over()


def test_what_a_killed_driver_leaves_is_cleared_by_the_next_start_of_any_run_and_a_living_ones_stays(
    room: Path,
) -> None:
    program = _DRIVER.replace("with fast", f"fastlane._PREFIX = {fastlane._PREFIX!r}\nwith fast")
    killed, living, next_one = (fastlane.path_of(room / name) for name in ("killed", "living", "next"))
    with (
        command([sys.executable, "-c", program, str(room / "killed"), "600"], PYTHONPATH=str(ROOT)) as one,
        command([sys.executable, "-c", program, str(room / "living"), "600"], PYTHONPATH=str(ROOT)) as other,
    ):
        for process in (one, other):
            process.wait_for(lambda process=process: "made" in process.out, "the segment")
        reader = Reader(killed)
        assert not reader.is_over()
        one.send(signal.SIGKILL)
        one.wait()
        assert reader.is_over()
        assert killed.exists()
        with fastlane.segment(room / "next"):
            assert not killed.exists()
            assert living.exists()
            assert next_one.exists()
        assert not next_one.exists()


def test_a_frame_larger_than_its_slot_is_shown_smaller(room: Path) -> None:
    with fastlane.segment(room):
        writer = Writer.at(fastlane.path_of(room), 0)
        assert writer is not None
        writer.publish(np.full((3000, 1600, 3), 9, np.uint8))
        frame = Reader(fastlane.path_of(room)).newest()
        assert frame is not None
        assert frame.pixels.shape == (1500, 800, 3)


def test_watch_writes_a_picture_while_the_run_trains_and_says_when_it_does_not(
    room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    off = parse({**small_config(), "fastlane_enabled": False}, "x")
    on = parse({**small_config(), "fastlane_enabled": True}, "x")
    png = room / "now.png"
    monkeypatch.setattr(watch, "config_of", lambda run: off)
    with pytest.raises(BadInput, match="shows no pictures"):
        watch.watch([str(room), "--png", str(png)])
    monkeypatch.setattr(watch, "config_of", lambda run: on)
    with pytest.raises(BadInput, match="is not being trained"):
        watch.watch([str(room), "--png", str(png)])
    with fastlane.segment(room):
        with pytest.raises(BadInput, match="no picture for"):
            watch.watch([str(room), "--png", str(png), "--wait-s", "0.1"])
        with written(fastlane.path_of(room), publish_on):
            watch.watch([str(room), "--png", str(png)])
    shown = np.asarray(Image.open(io.BytesIO(png.read_bytes())))
    assert shown.shape == SHAPE
    assert len(np.unique(shown)) == 1
    with pytest.raises(BadInput, match="no terminal"):
        watch.watch([str(room)])


def test_a_picture_in_characters_has_its_colours_and_its_form() -> None:
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:20], pixels[20:] = (255, 0, 0), (0, 0, 255)
    lines = watch.in_characters(pixels, 40, 100).split("\r\n")
    assert len(lines) == 10
    assert {line.count("▀") for line in lines} == {40}
    assert "38;2;255;0;0;48;2;255;0;0" in lines[0]
    assert "38;2;0;0;255;48;2;0;0;255" in lines[-1]
