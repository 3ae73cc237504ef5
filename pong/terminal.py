"""A played game live in a terminal: two pixels a character, as wide as the terminal and 80 columns at most.

terminal.watch(trajectory, evaluation_id(seed=0, index=0), Pong())
"""

import sys
import time
from itertools import groupby

import numpy as np
from PIL import Image
from rich.console import Console
from rich.live import Live
from rich.text import Text

from bitexact.cli.exits import BadInput
from pong.game import Pong
from pong.play import RolloutId, Trajectory

_COLUMNS, _LINES = 80, 30  # a television's 4 : 3, where a character is twice as high as wide
_UPPER_HALF = "▀"


def expect_one() -> None:
    """Raise BadInput unless standard output is a terminal that can show a picture."""
    if not sys.stdout.isatty():
        raise BadInput("--watch needs a terminal: standard output is none.")
    if "utf" not in (sys.stdout.encoding or "").lower():
        raise BadInput(f"--watch needs a terminal that shows UTF-8, not {sys.stdout.encoding}.")


def watch(trajectory: Trajectory, rollout_id: RolloutId, game: Pong) -> None:
    """Play it again in real time, with the score and the probability of going up below it. Ctrl-C ends it.

    `game` is what was played.
    """
    console = Console()
    game.reset(seed=rollout_id.seed, options=rollout_id.details)
    pause_s, due = 1.0 / game.metadata["render_fps"], time.monotonic()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        for up, probability in zip(trajectory.ups, trajectory.probabilities, strict=True):
            game.step(int(up))
            columns, lines = min(_COLUMNS, console.width), min(_LINES, console.height - 2)
            shown = picture(game.picture(), columns, max(1, lines))
            points_for, points_against = game.score()
            shown.append(f"\n{points_against} : {points_for} for the policy on the right   up {probability:.0%}")
            live.update(shown, refresh=True)
            due += pause_s
            time.sleep(max(0.0, due - time.monotonic()))


def picture(rgb: np.ndarray, columns: int, lines: int) -> Text:
    """A picture, uint8 [height, width, 3], as lines of characters, each of which shows two colours."""
    small = np.asarray(Image.fromarray(rgb).resize((columns, 2 * lines), Image.Resampling.BOX))
    text = Text(no_wrap=True)
    for number, (upper, lower) in enumerate(zip(small[::2].tolist(), small[1::2].tolist(), strict=True)):
        text.append("\n" if number else "")
        for colours, run in groupby(zip(map(_colour, upper), map(_colour, lower), strict=True)):
            text.append(_UPPER_HALF * len(list(run)), style=" on ".join(colours))
    return text


def _colour(pixel: list[int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*pixel)
