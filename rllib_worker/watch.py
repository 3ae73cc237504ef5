"""The command `watch`: the newest pictures of a run that trains, in the terminal, or one of them as a PNG.

    python -m rllib_worker watch var/trainer/runs/tictactoe
    python -m rllib_worker watch var/trainer/runs/tictactoe --png now.png

The run must have been started with `fastlane_enabled`. It draws pictures while somebody watches, and not otherwise.
"""

import io
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image

from bitexact.cli import command_line
from bitexact.cli.exits import BadInput, Unread
from bitexact.storage import durable
from rllib_worker import fastlane
from rllib_worker.fastlane import Frame, Reader
from rllib_worker.kept import config_of

_LOOK_AGAIN_S = 0.01
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # a screen of its own, without a cursor
_HOME = "\x1b[H"


@dataclass(frozen=True)
class Watch:
    """Show what the first environment of a run looks like, while it trains."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run's folder."""
    png: Path | None = None
    """Write the next picture to this file, and end."""
    wait_s: float = 60.0
    """So long without a picture, and it ends."""


def watch(arguments: Sequence[str]) -> None:
    """Show pictures until the run ends, or write one."""
    asked = command_line.parse(Watch, arguments, "python -m rllib_worker watch")
    command_line.expect_a_folder(png=asked.png)
    if asked.png is None and not sys.stdout.isatty():
        raise BadInput("standard output is no terminal to show pictures in: name a file with --png.")
    frames = _frames(_reader(asked.run), asked.run, asked.wait_s)
    if asked.png:
        _write(frames, asked.png, asked.run)
    else:
        _show(frames)
        print(f"{asked.run} has ended")


def _reader(run: Path) -> Reader:
    if not config_of(run).fastlane_enabled:
        raise BadInput(f"{run} shows no pictures: start a run with --set fastlane_enabled=true.")
    path = fastlane.path_of(run)
    if not path.exists():
        raise BadInput(f"{run} is not being trained on this machine: there is nothing to watch.")
    return Reader(path)


def _frames(reader: Reader, run: Path, limit_s: float) -> Iterator[Frame]:
    """Whole frames as they come, until the run ends. Raises BadInput if none comes for a while."""
    last = time.monotonic()
    while not reader.is_over():
        frame = reader.newest()
        if frame is not None:
            yield frame
            last = time.monotonic()
        elif time.monotonic() - last > limit_s:
            raise BadInput(
                f"{run} has shown no picture for {limit_s:g} s: it may be paused; wait longer with --wait-s."
            )
        else:
            time.sleep(_LOOK_AGAIN_S)


def _write(frames: Iterator[Frame], path: Path, run: Path) -> None:
    frame = next(frames, None)
    if frame is None:
        raise BadInput(f"{run} ended before it showed a picture.")
    data = io.BytesIO()
    Image.fromarray(frame.pixels).save(data, "PNG")
    durable.write_atomically(path, data.getvalue())
    print(f"frame {frame.number} is in {path}")


def _show(frames: Iterator[Frame]) -> None:
    with _own_screen():
        for frame in frames:
            size = shutil.get_terminal_size()
            _say(_HOME + in_characters(frame.pixels, size.columns, size.lines - 1))


@contextmanager
def _own_screen() -> Iterator[None]:
    _say(_ENTER)
    try:
        yield
    finally:
        _say(_LEAVE)


def _say(text: str) -> None:
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        raise Unread from None


def in_characters(pixels: np.ndarray, columns: int, rows: int) -> str:
    """A picture as half blocks in colour: each character is two pixels, one above the other."""
    height, width = pixels.shape[:2]
    scale = min(columns / width, 2 * rows / height)
    size = (max(1, int(width * scale)), max(2, int(height * scale) // 2 * 2))
    small = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
    lines = []
    for upper, lower in zip(small[::2].tolist(), small[1::2].tolist(), strict=True):
        cells = (f"\x1b[38;2;{r};{g};{b};48;2;{x};{y};{z}m▀" for (r, g, b), (x, y, z) in zip(upper, lower, strict=True))
        lines.append("".join(cells) + "\x1b[0m")
    return "\r\n".join(lines)
