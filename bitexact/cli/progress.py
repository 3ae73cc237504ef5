"""What a run shows while it runs: one live panel on a terminal, one plain line an update elsewhere or with NO_COLOR."""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress import track
from rich.table import Table
from rich.text import Text

_Item = TypeVar("_Item")
_CURVE_POINTS = 60
_BARS = "▁▂▃▄▅▆▇█"


class Progress:
    """Plain lines: for logs, pipes and containers."""

    def note(self, text: str) -> None:
        """One line about something that happened."""
        print(text, flush=True)

    def update(self, metrics: Mapping[str, Any]) -> None:
        """An update was committed."""
        print(
            f"update {metrics['update']}  reward {metrics['reward_mean']:+.2f}"
            f"  last 100 {metrics['reward_mean_100']:+.2f}"
            f"  {metrics['steps_per_s']:,.0f} steps/s  {_clock(metrics['wall_time_s'])}"
            f"  digest {metrics['weights_digest'][:12]}",
            flush=True,
        )


class _Panel(Progress):
    """A live panel at the foot of the terminal; notes scroll by above it."""

    def __init__(self, live: Live, title: str) -> None:
        self._live, self._title = live, title
        self._curve: deque[float] = deque(maxlen=_CURVE_POINTS)

    def note(self, text: str) -> None:
        # soft_wrap: a command in it must come whole out of copy and paste
        self._live.console.print(text, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def update(self, metrics: Mapping[str, Any]) -> None:
        self._curve.append(metrics["reward_mean_100"])
        table = Table.grid(padding=(0, 3))
        table.add_row("update", "rollouts", "reward", "last 100", "steps/s", "time", "digest", style="dim")
        table.add_row(
            str(metrics["update"]),
            f"{metrics['update'] * metrics['rollouts']:,}",
            f"{metrics['reward_mean']:+.2f}",
            f"{metrics['reward_mean_100']:+.2f}",
            f"{metrics['steps_per_s']:,.0f}",
            _clock(metrics["wall_time_s"]),
            metrics["weights_digest"][:12],
        )
        shown = Group(table, *_spent(metrics), Text(sparkline(self._curve), style="green"))
        panel = Panel(shown, title=self._title, expand=False)
        self._live.update(panel, refresh=True)


@contextmanager
def show(title: str) -> Iterator[Progress]:
    """The way to show progress that fits where the output goes."""
    console = Console()
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or console.is_dumb_terminal:
        yield Progress()
        return
    with Live(console=console, auto_refresh=False) as live:
        yield _Panel(live, title)


def bar(items: Iterable[_Item], what: str, total: int) -> Iterable[_Item]:
    """The items, with a bar on standard error while they are gone through, where that is a terminal."""
    return track(items, what, total=total, console=Console(stderr=True), disable=not sys.stderr.isatty())


def sparkline(values: deque[float]) -> str:
    """A curve in one line: the lowest value at the bottom, the highest at the top."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    return "".join(_BARS[int((value - low) / span * (len(_BARS) - 1))] for value in values)


def _spent(metrics: Mapping[str, Any]) -> list[Text]:
    """Where the update's time went, in a line, if its metrics say so."""
    parts = {name: metrics.get(f"{name}_s") for name in ("play", "learn", "idle", "commit")}
    told = "   ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items() if seconds is not None)
    return [Text(told, style="dim")] if told else []


def _clock(seconds: float) -> str:
    minutes, whole_seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{whole_seconds:02}"
