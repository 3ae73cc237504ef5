"""What a run shows: plain lines where they are read by programs, a live panel on a terminal."""

import fcntl
import json
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
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import DRIVER, ROOT, finished, recorded_digests
from hypothesis import given
from hypothesis import strategies as st

from bitexact.cli.progress import show, sparkline

ESCAPE = "\x1b"
LONG_NOTE = "go on with: python driver.py --resume --run-dir=" + "/".join(["folder"] * 20) + " :smile: [bold]"
COLUMNS = 100

# Three updates, as the recorder tells of them.
METRICS = [
    {
        "update": update,
        "rollouts": 10,
        "reward_mean": -20.0 + update,
        "reward_mean_100": -20.5 + update,
        "steps_per_s": 1234.5,
        "wall_time_s": 3599.0 + update,
        "play_s": 1.5,
        "learn_s": 0.25 * update,
        "idle_s": 0.4,
        "commit_s": 0.01,
        "weights_digest": f"{update:x}" * 64,
    }
    for update in (1, 2, 3)
]


def shows_a_run() -> None:
    with show("Ray Pong") as progress:
        progress.note(LONG_NOTE)
        for metrics in METRICS:
            progress.update(metrics)


# ---- plain lines --------------------------------------------------------------------------------------------------


def assert_plain(shown: str) -> None:
    assert ESCAPE not in shown
    assert shown.splitlines() == [
        LONG_NOTE,
        "update 1  reward -19.00  last 100 -19.50  1,234 steps/s  1:00:00  digest 111111111111",
        "update 2  reward -18.00  last 100 -18.50  1,234 steps/s  1:00:01  digest 222222222222",
        "update 3  reward -17.00  last 100 -17.50  1,234 steps/s  1:00:02  digest 333333333333",
    ]


@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1"}, {"TTY_COMPATIBLE": "1"}])
def test_a_pipe_gets_one_plain_line_an_update(environment):
    done = finished(program=Path(__file__), PYTHONPATH=f"{ROOT}:{ROOT / 'tests'}", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert_plain(done.stdout)


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_gets_plain_lines_where_it_is_to_stay_plain(environment):
    with on_a_terminal([__file__], **environment) as terminal:
        terminal.read_to_the_end()
    assert_plain(terminal.shown.replace("\r\n", "\n"))


# ---- the panel ----------------------------------------------------------------------------------------------------


class Terminal:
    """A program on a terminal of its own, and what it shows there."""

    def __init__(self, program: list[str], environment: dict[str, str], directory: Path) -> None:
        self._screen, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("4H", 40, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, *program],
            stdin=inside,
            stdout=inside,
            stderr=inside,
            cwd=directory,
            env=environment,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # so that it sends signals for keys
        )
        os.close(inside)
        self.shown = ""

    def read_until(self, holds: Callable[[str], Any], limit_s: float = 120.0) -> None:
        """Read what is shown until something holds of it."""
        end = time.monotonic() + limit_s
        while not holds(self.shown):
            assert select.select([self._screen], [], [], end - time.monotonic())[0], self.shown
            self.shown += os.read(self._screen, 65536).decode()

    def read_to_the_end(self) -> int:
        """Read all that is left; returns the exit code."""
        try:
            self.read_until(lambda _: False)
        except OSError:  # so says Linux that nobody has the terminal open any more
            return self.process.wait(60)
        raise AssertionError

    def press(self, key: bytes) -> None:
        """Type."""
        os.write(self._screen, key)

    def close(self) -> None:
        """End the program and all of its process group."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(60)
        os.close(self._screen)


@contextmanager
def on_a_terminal(program: list[str], **environment: str) -> Iterator[Terminal]:
    inherited = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS", "LINES")}
    terminal = Terminal(
        program, {**inherited, "TERM": "xterm", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", **environment}, Path.cwd()
    )
    try:
        yield terminal
    finally:
        terminal.close()


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown).replace("\r", "")


def panels(shown: str) -> list[str]:
    """Each panel drawn, one after the other."""
    return re.findall(r"╭─+ Ray Pong ─+╮\n.*?╰─+╯", plain(shown), re.DOTALL)


@pytest.fixture(scope="module")
def shown_on_a_terminal() -> str:
    with on_a_terminal([__file__]) as terminal:
        assert terminal.read_to_the_end() == 0
    return terminal.shown


def test_a_terminal_gets_a_panel_that_is_drawn_anew_at_each_update(shown_on_a_terminal):
    drawn = panels(shown_on_a_terminal)
    assert len(drawn) >= 3
    for metrics in METRICS:
        assert any(metrics["weights_digest"][:12] in panel for panel in drawn)
    for value in ("3", "30", "-17.00", "-17.50", "1,234", "1:00:02", "333333333333", "▁▄█"):
        assert value in drawn[-1]
    assert "play 1.50 s   learn 0.75 s   idle 0.40 s   commit 0.01 s" in drawn[-1]
    assert "update 1 " not in plain(shown_on_a_terminal)


def test_the_panel_replaces_itself(shown_on_a_terminal):
    moves_up = re.compile(r"\x1b\[\d*A")
    assert len(moves_up.findall(shown_on_a_terminal)) >= 2


def test_a_note_stays_whole_and_as_it_is_above_the_panel(shown_on_a_terminal):
    assert len(LONG_NOTE) > COLUMNS
    assert LONG_NOTE in plain(shown_on_a_terminal).splitlines()


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_stops_a_run_and_leaves_the_sentence_below_the_panel(tmp_path):
    flags = [f"--run-dir={tmp_path / 'run'}", "--batch-size=2", "--hidden-units=16"]
    with on_a_terminal([str(DRIVER), *flags]) as terminal:
        terminal.read_until(panels)
        terminal.press(b"\x03")
        assert terminal.read_to_the_end() == 130
    last_digest = recorded_digests(tmp_path / "run")[-1].weights
    assert last_digest[:12] in panels(terminal.shown)[-1]
    end = plain(terminal.shown).strip().splitlines()[-1]
    assert re.fullmatch(r"driver\.py: stopped by SIGINT\. Go on with: python driver\.py --resume .*", end)


# ---- the curve ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "curve"),
    [
        ([0.0], "▁"),
        ([3.0, 3.0, 3.0], "▁▁▁"),
        ([-21.0, 21.0], "▁█"),
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], "▁▂▃▄▅▆▇█"),
        ([7.0, 0.0, 3.4], "█▁▄"),
    ],
)
def test_the_curve_runs_from_the_lowest_value_to_the_highest(values, curve):
    assert sparkline(deque(values)) == curve


@given(st.lists(st.floats(-21.0, 21.0), min_size=1, max_size=60))
def test_the_curve_has_one_bar_a_value_and_keeps_their_order(values):
    curve = sparkline(deque(values))
    assert len(curve) == len(values)
    assert curve[values.index(min(values))] == "▁"
    in_order = [bar for _, bar in sorted(zip(values, curve, strict=True))]
    assert in_order == sorted(in_order)
    if max(values) > min(values):
        assert curve[values.index(max(values))] == "█"


def test_the_metrics_shown_here_are_what_a_run_records(golden_run):
    line = json.loads((golden_run.directory / "metrics.jsonl").read_text().splitlines()[0])
    assert line.keys() >= METRICS[0].keys()


if __name__ == "__main__":
    shows_a_run()
