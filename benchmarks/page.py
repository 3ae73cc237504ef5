"""What docs/benchmarks.md shows of benchmarks/results.json: the table between its two marks, and the plots.

    python -m benchmarks.page                           rewrites the table, draws docs/benchmarks-*.svg
    python -m benchmarks.page --results=FILE --docs=FOLDER

What has not been measured is left out. Exit codes: 0 written, 2 bad input; others as every
command's (bitexact/cli/exits.py, and --help).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import matplotlib as mpl

mpl.use("svg")

import tyro
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.figures import figure_text, load
from benchmarks.run import MEASURES
from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput
from training.settings import PPO

_ROOT = Path(__file__).resolve().parent.parent
_TABLE_BEGINS, _TABLE_ENDS = "<!-- figures begin -->", "<!-- figures end -->"
_OURS, _THEIRS, _IDEAL = "#1f6f8b", "#b0413e", "#8a8a8a"


@dataclass(frozen=True)
class Arguments:
    """Put what was measured into the page about it."""

    results: Annotated[Path, tyro.conf.arg(metavar="FILE")] = _ROOT / "benchmarks" / "results.json"
    """What was measured."""
    docs: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = _ROOT / "docs"
    """The folder with benchmarks.md, where the plots go too."""


def main(arguments: Sequence[str]) -> None:
    """Rewrite the table, draw each plot that there is a measure for."""
    chosen = command_line.parse(Arguments, arguments, "python -m benchmarks.page")
    results = load(chosen.results)
    if not results:
        raise BadInput(f"{chosen.results} holds no measures: make them with python -m benchmarks.run.")
    _write_table(chosen.docs / "benchmarks.md", results)
    mpl.rcParams.update({"svg.hashsalt": "ray-pong", "axes.spines.top": False, "axes.spines.right": False})
    for name, draw in PLOTS.items():
        if name in results["measures"]:
            figure, axes = plt.subplots(figsize=(7.2, 3.6), layout="constrained")
            draw(axes, results["measures"][name]["series"])
            figure.savefig(chosen.docs / f"benchmarks-{name}.svg", metadata={"Date": None})  # same figures, same file
            plt.close(figure)


def _write_table(page: Path, results: dict[str, Any]) -> None:
    text = page.read_text() if page.exists() else ""
    before, begin, rest = text.partition(_TABLE_BEGINS)
    _, end, after = rest.partition(_TABLE_ENDS)
    if not end:
        raise BadInput(f"{page} has no place for the table: it must hold the lines {_TABLE_BEGINS} and {_TABLE_ENDS}.")
    plots = [f"![{draw.__doc__}](benchmarks-{name}.svg)" for name, draw in PLOTS.items() if name in results["measures"]]
    between = "\n\n".join([table(results), *plots])
    page.write_text(f"{before}{begin}\n{between}\n{end}{after}")


def table(results: dict[str, Any]) -> str:
    """The figures as a table in Markdown, each measure with the processor that it was made on."""
    machine, versions = results["machine"], results["versions"]
    lines = [
        f"{machine['cpus']} CPUs, Python {versions['python']}, NumPy {versions['numpy']}, Ray {versions['ray']}. "
        "Beside each measure's name: the processor. In brackets: the quartiles.",
        "",
        "| measure | figure | goal | met |",
        "|---|---|---|---|",
    ]
    for name in (name for name in MEASURES if name in results["measures"]):
        measure = results["measures"][name]
        lines.append(f"| **{name}** | {measure.get('processor', '')} | | |")
        for line in measure["figures"]:
            lines.append(f"| {line['what']} | {figure_text(line)} | {line['goal']} | {line['met']} |")
    return "\n".join(lines)


def rollout(axes: Axes, series: dict[str, Any]) -> None:
    """Where a step's time goes."""
    parts = series["parts_us"]
    names, values = list(parts), list(parts.values())
    bars = axes.barh(names[::-1], values[::-1], color=[_OURS] * (len(names) - 1) + [_IDEAL])
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.set_xlim(0, max(values) * 1.15)
    axes.set_xlabel("microseconds of a step")


def many_actors(axes: Axes, series: dict[str, Any]) -> None:
    """How an update's time grows with the batch, beside what it would be if the driver cost nothing."""
    for games, style in zip(dict.fromkeys(point["games"] for point in series["points"]), "o^", strict=False):
        points = [point for point in series["points"] if point["games"] == games]
        batches = [point["batch_size"] for point in points]
        axes.plot(batches, [point["wall_s"] for point in points], f"{style}-", color=_OURS, label=f"measured, {games}")
        ideal = [point["ideal_s"] for point in points]
        axes.plot(batches, ideal, f"{style}--", color=_IDEAL, label=f"a driver that costs nothing, {games}")
    published = {int(batch): seconds for batch, (_, seconds) in series["published"].items()}
    axes.plot(list(published), list(published.values()), "s", color=_THEIRS, label="published, on 64 and 198 cores")
    axes.set(xscale="log", yscale="log", xlabel="rollouts of an update", ylabel="seconds of an update")
    axes.legend(frameon=False, fontsize="small")


def updates(axes: Axes, series: dict[str, Any]) -> None:
    """How busy the actors are, update by update, with the default preset."""
    series = series[PPO]
    numbers = range(1, len(series["busy"]) + 1)
    busy = [100.0 * share for share in series["busy"]]
    tail = [100.0 * share for share in series["tail"]]
    rest = [100.0 - b - t for b, t in zip(busy, tail, strict=True)]
    labels = ["busy", "idle at the end: the other plays its last", "idle otherwise: learning, results, weights"]
    axes.stackplot(numbers, busy, tail, rest, colors=[_OURS, _IDEAL, _THEIRS], labels=labels)
    axes.set(xlabel="update", ylabel="% of the actors' time", ylim=(0, 100), xlim=(1, max(2, len(busy))))
    axes.legend(loc="lower left", fontsize="small")


def soak(axes: Axes, series: dict[str, Any]) -> None:
    """Memory over the updates."""
    samples = series["memory_mb"]
    for who, colour in (("driver", _THEIRS), ("actor", _OURS), ("object store", _IDEAL)):
        axes.plot([line["update"] for line in samples], [line[who] for line in samples], color=colour, label=who)
    axes.set(xlabel="update", ylabel="MB", ylim=(0, None))
    axes.legend(frameon=False)


PLOTS: dict[str, Callable[[Axes, dict[str, Any]], None]] = {
    "rollout": rollout,
    "updates": updates,
    "many-actors": many_actors,
    "soak": soak,
}

if __name__ == "__main__":
    exits.run(main)
