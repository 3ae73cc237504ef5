"""The picture in a terminal against colours worked out by hand, and a game watched in a real pseudo-terminal."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
from commands import LIMIT_S, ROOT
from real_runs import ends, is_one_sentence

import evaluate
from pong import terminal

pytest_plugins = ["real_runs"]

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def test_each_character_shows_the_mean_colours_of_its_two_halves():
    rgb = np.zeros((8, 6, 3), np.uint8)
    rgb[:2, :3] = [200, 0, 0]  # the upper half of the first character ...
    rgb[2:4, :3, 2] = [[0, 100, 200]]  # ... and the lower one: three pixels wide, 100 on average
    rgb[4:6] = [0, 50, 0]
    text = terminal.picture(rgb, columns=2, lines=2)
    assert text.plain == "▀▀\n▀▀"
    styles = {text.plain[span.start : span.end].strip(): str(span.style) for span in text.spans}
    assert str(text.spans[0].style) == "#c80000 on #000064"
    assert styles["▀▀"] == "#003200 on #000000"


@pytest.mark.slow
def test_a_game_is_watched_in_a_terminal_of_80_columns(run):
    shown, code = watched(run, columns=80, lines=40)
    frames = [frame for frame in re.split(r"up +\d+%", _ANSI.sub("", shown)) if "▀" in frame]
    assert len(frames) >= 3
    for frame in frames[1:]:
        lines = [line for line in frame.splitlines() if "▀" in line]
        assert len(lines) == 30
        assert {len(line.strip()) for line in lines} == {80}
        assert re.search(r"\d+ : \d+ for the policy on the right", frame)
    assert code == 130


@pytest.mark.slow
def test_a_small_terminal_gets_a_small_picture(run):
    shown, _ = watched(run, columns=50, lines=16)
    lines = [line.strip() for line in _ANSI.sub("", shown).splitlines() if "▀" in line]
    assert {len(line) for line in lines} == {50}


def test_without_a_terminal_there_is_nothing_to_watch(run):
    ending = ends(evaluate.main, run, "--games=1", "--watch")
    assert ending.code == 2
    assert is_one_sentence(ending.sentence)
    assert "terminal" in ending.sentence


def watched(run: Path, columns: int, lines: int) -> tuple[str, int]:
    """What a terminal of some size is sent until four pictures are there; then Ctrl-C, and the exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    command = [sys.executable, str(ROOT / "evaluate.py"), str(run), "--games=1", "--actors=1", "--watch"]
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, env=environment | {"TERM": "xterm-256color"}, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            shown, deadline = b"", time.monotonic() + LIMIT_S
            while len(re.findall(rb"up +\d+%", shown)) < 4:
                assert time.monotonic() < deadline, shown[-500:]
                if select.select([ours], [], [], 1.0)[0]:
                    shown += os.read(ours, 1 << 16)
            process.send_signal(signal.SIGINT)
            while process.poll() is None and time.monotonic() < deadline:
                if select.select([ours], [], [], 0.2)[0]:
                    with_the_rest(ours)
            return shown.decode(), process.wait(1)
        finally:
            process.kill()
            os.close(ours)


def with_the_rest(terminal_side: int) -> None:
    """Read on, so that the program is not held up by a full terminal."""
    try:
        os.read(terminal_side, 1 << 16)
    except OSError:  # the other side is closed
        return


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_utf_8_is_told_of(monkeypatch, encoding):
    class Terminal:
        def isatty(self) -> bool:
            return True

    output = Terminal()
    output.encoding = encoding
    monkeypatch.setattr(sys, "stdout", output)
    with pytest.raises(evaluate.BadInput, match=encoding):
        terminal.expect_one()
