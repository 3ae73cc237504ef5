"""Curves of runs that differ in nothing but the seed, as one: their median, in a band from the lowest to the highest.

groups = grouped(labels(settings, "preset"), curves)         # settings, curves: one of each run
draw(axes, {label: [(curve.steps, curve.reward) for curve in alike] for label, alike in groups.items()})
save(figure, path)
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bitexact.cli.exits import BadInput
from bitexact.storage import durable

Points = tuple[np.ndarray, np.ndarray]  # places in ascending order, and the heights there
KINDS = (".png", ".svg", ".pdf")
_SEED = "seed"
_POINTS = 400
_T = TypeVar("_T")


def labels(settings: Sequence[Mapping[str, Any]], name: str) -> list[str]:
    """A label for each run: its setting `name`, and what is not the same in all runs of it but the seed."""
    of_name: dict[str, list[Mapping[str, Any]]] = {}
    for one in settings:
        of_name.setdefault(one[name], []).append(one)
    found = []
    for one in settings:
        alike = of_name[one[name]]
        differing = [key for key in one if key != _SEED and any(another[key] != one[key] for another in alike)]
        found.append(", ".join([one[name], *(f"{key.replace('_', ' ')} {one[key]}" for key in differing)]))
    return found


def grouped(names: Sequence[str], curves: Sequence[_T]) -> dict[str, list[_T]]:
    """The curves of each label, in order."""
    groups: dict[str, list[_T]] = {}
    for name, curve in zip(names, curves, strict=True):
        groups.setdefault(name, []).append(curve)
    return groups


def band(curves: Sequence[Points]) -> tuple[np.ndarray, np.ndarray]:
    """Where all curves have values: the places [P], and the lowest, median and highest value there [3, P]."""
    first, last = max(places[0] for places, _ in curves), min(places[-1] for places, _ in curves)
    common = np.linspace(first, max(first, last), _POINTS)
    return common, np.quantile([np.interp(common, *curve) for curve in curves], [0.0, 0.5, 1.0], axis=0)


def draw(axes: Axes, groups: Mapping[str, Sequence[Points]]) -> None:
    """Each group's median, and its band if it has several curves."""
    for label, curves in groups.items():
        places, (low, middle, high) = band(curves)
        seeds = f" ({len(curves)} seeds: median, lowest to highest)" if len(curves) > 1 else ""
        (line,) = axes.plot(places, middle, label=label + seeds)
        if seeds:
            axes.fill_between(places, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    axes.spines[["top", "right"]].set_visible(False)


def cell(values: Sequence[float], form: str) -> str:
    """A table's cell: the median, in brackets the lowest and the highest where they differ.

    What is infinite was not reached; where one is not a number, nothing is said.
    """
    if any(math.isnan(value) for value in values):
        return "-"
    low, middle, high = (
        "not" if math.isinf(value) else form.format(value) for value in (min(values), median(values), max(values))
    )
    return f"{middle} ({low} to {high})" if low != high else middle


def expect_a_picture(path: Path) -> None:
    """Raise BadInput for a file of another kind."""
    if path.suffix not in KINDS:
        raise BadInput(f"--out writes {', '.join(KINDS)}, not {path.name}.")


def save(figure: Figure, path: Path) -> None:
    """Write a picture, of the kind that the file's ending says. Raises BadInput, DiskRefused."""
    try:
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None, dpi=150)
    except OSError as error:
        raise durable.unwritable(path, error) from None
