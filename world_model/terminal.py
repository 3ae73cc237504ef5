"""Play in a terminal: two columns of characters for the two games, arrow keys or W and S; space syncs, q ends.

A terminal tells when a key is pressed, never when it is let go: a key counts for a few steps.
"""

import contextlib
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from bitexact.cli.exits import BadInput
from world_model.session import Session

_STEPS_PER_S, _STEPS_SHOWN = 60, 3  # every third step is drawn: 20 pictures a second
_KEY_STEPS = 9
_KEYS = {b"\x1b[A": -1, b"w": -1, b"\x1b[B": 1, b"s": 1}
_COLUMNS, _LINES = 38, 19


def play_in_terminal(session: Session, shows: tuple[str, ...]) -> None:
    """Play until q or Ctrl-C. Raises BadInput where there is no terminal."""
    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise BadInput("--terminal needs a terminal: standard input or output is none.")
    key = held = step = 0
    due = time.monotonic()
    with _keys_at_once(), Live(console=Console(), auto_refresh=False, screen=True) as live:
        while True:
            pressed = _pressed()
            if pressed in (b"q", b"\x03"):
                return
            if pressed == b" ":
                session.sync()
            if pressed in _KEYS:
                key, held, session.player = _KEYS[pressed], _KEY_STEPS, "you"
            held = max(0, held - 1)
            shown = session.tick(key if held else 0)
            step += 1
            if step % _STEPS_SHOWN == 0:
                live.update(picture(shown, shows), refresh=True)
            due = max(due + 1.0 / _STEPS_PER_S, time.monotonic() - 0.25)
            time.sleep(max(0.0, due - time.monotonic()))


def picture(shown: dict[str, Any], shows: tuple[str, ...]) -> Text:
    """The games side by side, as characters."""
    fields = [_field(shown[name]) for name in shows]
    titles = "   ".join(
        f"{name}  {shown[name]['score'][0]} : {shown[name]['score'][1]}".ljust(_COLUMNS + 2) for name in shows
    )
    rows = ["   ".join(parts) for parts in zip(*fields, strict=True)]
    return Text(
        "\n".join([titles, *rows, f"error {shown['error']:.3f}   up and down, space: sync, q: end"]), no_wrap=True
    )


def _field(game: dict[str, Any]) -> list[str]:
    cells = [[" "] * _COLUMNS for _ in range(_LINES)]
    for name, sign in (("left", "█"), ("right", "█"), ("ball", "●")):
        x, y, _, height = game[name]
        column, first = int(x * _COLUMNS), int(y * _LINES + 0.5)
        for row in range(first, max(first + 1, int((y + height) * _LINES + 0.5))):
            if 0 <= row < _LINES and 0 <= column < _COLUMNS:
                cells[row][column] = sign
    edge = "─" * _COLUMNS
    return [f"┌{edge}┐", *(f"│{''.join(row)}│" for row in cells), f"└{edge}┘"]


def _pressed() -> bytes:
    """What was typed last since the last step, or nothing."""
    typed = b""
    while select.select([sys.stdin], [], [], 0)[0]:
        more = os.read(sys.stdin.fileno(), 64)
        if not more:
            return b"q"
        typed = more
    return typed[-3:] if typed[-3:] in _KEYS else typed[-1:]


@contextlib.contextmanager
def _keys_at_once() -> Iterator[None]:
    """Keys come without Enter, and are not echoed."""
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
