"""The command `curves`: returns over environment steps, and a table; runs that differ in the seed alone are one curve.

    python -m rllib_worker curves var/trainer/runs/a-1 var/trainer/runs/a-2 var/trainer/runs/b-1 --out curves.png

A return is the mean of the last 100 episodes, each the mean over its agents that learn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from matplotlib.figure import Figure

from bitexact.cli import command_line
from bitexact.cli.exits import BadInput
from bitexact.reporting import bands
from bitexact.storage.ledger import METRICS
from bitexact.storage.run import Run
from rllib_worker.config import RayWorkerConfig
from rllib_worker.kept import kept_config

_COLUMNS = ("steps_total", "reward_mean_100", "steps_per_s")
_PARTS = (0.25, 0.5, 1.0)  # of the steps that all runs have
_KIND = "kind"


@dataclass(frozen=True)
class Arguments:
    """Draw the returns of runs over their steps, and print a table."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders. Those that differ in nothing but the seed are one curve."""
    out: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    """Write the picture as FILE, .png, .svg or .pdf."""


@dataclass(frozen=True)
class Curve:
    """One run: after each iteration its steps so far, the return, and its speed."""

    steps: np.ndarray
    returns: np.ndarray
    steps_per_s: np.ndarray


def curves(arguments: Sequence[str]) -> None:
    """Read the runs, draw them, print the table. Raises BadInput, DiskRefused."""
    asked = command_line.parse(Arguments, arguments, "python -m rllib_worker curves")
    if not asked.runs:
        raise BadInput("curves draws runs: name their folders.")
    bands.expect_a_picture(asked.out)
    command_line.expect_a_folder(out=asked.out)
    labels = bands.labels([settings(kept_config(run)) for run in asked.runs], _KIND)
    groups = bands.grouped(labels, [read(run) for run in asked.runs])
    bands.save(draw(groups), asked.out)
    print(table(groups))


def settings(config: RayWorkerConfig) -> dict[str, Any]:
    """What decides a run's result, flat; by its kind, which no two runs of different games or configurations share."""
    kind = f"{config.environment.env_id}, {config.policy_configuration.replace('_', ' ')}, {config.training.algorithm}"
    return {
        _KIND: kind,
        "seed": config.seed,
        "api": config.environment.api_type.value,
        "env_kwargs": config.environment.env_kwargs,
        "workers": config.resources.num_workers,
        "extras": config.extras,
        **config.training.parameters(),
    }


def read(run: Path) -> Curve:
    """A run's curve, from its ledger. Raises BadInput."""
    rows = [[_number(run, line, name) for name in _COLUMNS] for line in Run.open(run).ledger.lines(METRICS)]
    if not rows:
        raise BadInput(f"{run} has no iteration yet: there is nothing to draw.")
    return Curve(*np.array(rows).T)


def _number(run: Path, line: dict[str, Any], name: str) -> float:
    value = line.get(name)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadInput(f"{run / METRICS} has a line of iteration {line['update']} without a number {name}: restore it.")
    return float(value)


def draw(groups: dict[str, list[Curve]]) -> Figure:
    """The picture."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    bands.draw(axes, {label: [(one.steps, one.returns) for one in alike] for label, alike in groups.items()})
    axes.set(xlabel="environment steps", ylabel="mean return of the last 100 episodes")
    figure.legend(frameon=False, loc="outside upper left")
    return figure


def table(groups: dict[str, list[Curve]]) -> str:
    """In Markdown: returns at parts of the steps that all runs have, and the speed: medians, lowest and highest."""
    end = min(float(curve.steps[-1]) for alike in groups.values() for curve in alike)
    headings = [f"return after {end * part:,.0f} steps" for part in _PARTS]
    lines = [f"| | seeds | {' | '.join(headings)} | steps a second |", "|---" * (len(headings) + 3) + "|"]
    for label, alike in groups.items():
        cells = [bands.cell([_at(curve, end * part) for curve in alike], "{:.2f}") for part in _PARTS]
        cells.append(bands.cell([float(np.median(curve.steps_per_s)) for curve in alike], "{:.0f}"))
        lines.append(f"| {label} | {len(alike)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _at(curve: Curve, steps: float) -> float:
    """The return when so many steps were played; before the first iteration's end, not a number."""
    return float(np.interp(steps, curve.steps, curve.returns, left=math.nan))
