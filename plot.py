"""Draw learning curves, the mean reward of the last 100 rollouts over time, games and steps; say when goals were met.

    python plot.py runs/pong-seed0-batch10 --out curve.png
    python plot.py runs/a-seed0 runs/a-seed1 runs/a-seed2 runs/reinforce --out curves.svg

Runs whose settings differ in nothing but the seed are drawn as one curve: their median, in a band from the lowest to
the highest of them. Beside them stands which part of an update's time went into learning and writing, and in which an
actor had nothing to play, of runs that say so. Time is the training's own; what was done again after a resume is not in
it twice. The file's ending says its kind: .png, .svg or .pdf.

Exit codes: 0 done, 2 bad input, 4 the disk is full or refuses; others as every command's (bitexact/cli/exits.py, and
--help).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput
from bitexact.reporting import bands
from bitexact.reporting.bands import Points
from training import learning_curve
from training.learning_curve import Curve
from training.settings import read_settings

GOALS = (0, 10, 18)
MINUTES = (10, 20, 30)
_ROLLOUTS = 100  # that the mean is of


@dataclass(frozen=True)
class Arguments:
    """Draw learning curves of one run or several."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run directories."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Write the picture as FILE, .png, .svg or .pdf."""

    def check(self) -> None:
        """Raise BadInput for arguments that cannot be used."""
        if not self.runs:
            raise BadInput("name at least one run directory.")
        bands.expect_a_picture(self.out)


_AXES = {"minutes": "minutes", "games": "games", "steps": "thousand steps"}
_PARTS = {"learning": "-", "idle": "--", "writing": ":"}  # of an update's time, and how they are drawn


def main(arguments: Sequence[str]) -> None:
    """Read the runs and draw them. Raises BadInput, DiskRefused."""
    chosen = command_line.parse(Arguments, arguments, "python plot.py")
    chosen.check()
    labels = bands.labels([read_settings(run).deciding() for run in chosen.runs], "preset")
    groups = bands.grouped(labels, [learning_curve.read(run) for run in chosen.runs])
    bands.save(draw(groups), chosen.out)
    print(table(groups))


def table(groups: dict[str, list[Curve]]) -> str:
    """When each group met the goals, and how far it was when, in Markdown: medians; lowest and highest of several."""
    headings = [f"reaches {goal}" for goal in GOALS] + [f"after {minutes} min" for minutes in MINUTES]
    lines = ["| | " + " | ".join([*headings, "ends at"]) + " |", "|---|" + "---|" * (len(headings) + 1)]
    for label, curves in groups.items():
        cells = [bands.cell([reached(curve, goal) for curve in curves], "{:.1f} min") for goal in GOALS]
        cells += [bands.cell([after(curve, minutes) for curve in curves], "{:+.1f}") for minutes in MINUTES]
        cells.append(bands.cell([float(curve.reward[-1]) for curve in curves], "{:+.1f}"))
        cells[-1] += " after " + bands.cell([float(curve.minutes[-1]) for curve in curves], "{:.0f} min")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def reached(curve: Curve, goal: float) -> float:
    """Minutes until the mean of a full 100 rollouts was at a goal; infinite if it never was."""
    there = np.flatnonzero((curve.reward >= goal) & (curve.games >= _ROLLOUTS))
    return float(curve.minutes[there[0]]) if len(there) else math.inf


def after(curve: Curve, minutes: float) -> float:
    """The reward of the last update within so many minutes; not a number if the run has none, or ended before."""
    within = curve.reward[curve.minutes <= minutes]
    return float(within[-1]) if len(within) and curve.minutes[-1] >= minutes else math.nan


def draw(groups: dict[str, list[Curve]]) -> Figure:
    """A picture of four: rewards over time, games and steps, and where time went; of three if no run says so."""
    times_are_known = any(np.isfinite(curve.idle).any() for curves in groups.values() for curve in curves)
    with mpl.rc_context({"svg.hashsalt": "ray-pong", "font.size": 9}):
        figure = Figure(figsize=(14 if times_are_known else 11, 3.6), layout="constrained")
        first, *others = figure.subplots(1, 4 if times_are_known else 3)
        for axes, (name, label) in zip((first, *others), _AXES.items(), strict=False):
            if axes is not first:
                axes.sharey(first)
            _draw_panel(axes, groups, name)
            axes.set_xlabel(label)
            axes.label_outer()
        first.set_ylabel("mean reward of the last 100 rollouts")
        if times_are_known:
            _draw_times(others[-1], groups)
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside upper left", ncols=2)
    return figure


def _draw_times(axes: Axes, groups: dict[str, list[Curve]]) -> None:
    """Parts of an update's time, the medians of each group in its colour."""
    for number, curves in enumerate(groups.values()):
        for part, style in _PARTS.items():
            places, (_, middle, _) = bands.band(_points(curves, "minutes", part))
            axes.plot(places, middle, style, color=f"C{number}", linewidth=1, label=part if number == 0 else None)
    axes.set(xlabel="minutes", ylabel="part of an update's time", ylim=(0.0, 1.0))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_panel(axes: Axes, groups: dict[str, list[Curve]], over: str) -> None:
    bands.draw(axes, {label: _points(curves, over) for label, curves in groups.items()})
    axes.axhline(0.0, color="#b9c4d0", linewidth=0.8, zorder=0)
    axes.set_ylim(-21.5, 21.5)


def _points(curves: Sequence[Curve], over: str, of: str = "reward") -> list[Points]:
    return [(getattr(curve, over), getattr(curve, of)) for curve in curves]


if __name__ == "__main__":
    exits.run(main)
