"""What a measure gives: figures with their goals, and the series that plots are drawn from."""

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bitexact.cli.exits import BadInput
from bitexact.determinism import versions
from bitexact.storage import durable, untrusted


@dataclass(frozen=True)
class Figure:
    """One number. `low` and `high` are the quartiles where it is a median of several."""

    what: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def goal(self) -> str:
        """The goal in words; empty for a figure without one."""
        bounds = {"≥": self.at_least, "≤": self.at_most}
        return " ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if bound is not None)

    @property
    def verdict(self) -> str:
        """Whether the goal is met; empty for a figure without one."""
        if not self.goal:
            return ""
        too_low = self.at_least is not None and self.value < self.at_least
        too_high = self.at_most is not None and self.value > self.at_most
        return "no" if too_low or too_high else "yes"


@dataclass(frozen=True)
class Result:
    """What one measure found."""

    figures: list[Figure]
    series: dict[str, Any] = field(default_factory=dict)  # plain numbers


def median_of(what: str, values: list[float], unit: str = "", **goal: float) -> Figure:
    """The median, with its quartiles."""
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 4], ordered[-1 - len(ordered) // 4]
    return Figure(what, median(ordered), unit, low=low, high=high, **goal)


def save(path: Path, measure: str, result: Result) -> None:
    """Put a measure's result into the results' file; what other measures found stays."""
    results = load(path)
    results["machine"] = {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
    }
    results["versions"] = {"python": platform.python_version(), **versions.installed()}
    figures = [{**asdict(figure), "goal": figure.goal, "met": figure.verdict} for figure in result.figures]
    of_measure = {"processor": _processor(), "figures": figures, "series": result.series}
    results.setdefault("measures", {})[measure] = of_measure
    durable.write_atomically(path, json.dumps(results, indent=1).encode() + b"\n")


def load(path: Path) -> dict[str, Any]:
    """All results so far; none where there is no such file. Raises BadInput."""
    try:
        results = untrusted.parse_file(path)
        if not isinstance(results, dict) or not isinstance(results.get("measures"), dict):
            raise ValueError("it has no measures")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} holds no results ({error}): name another file with --results.") from None
    return results


def show(results: dict[str, Any]) -> None:
    """One table of all figures."""
    table = Table(title=f"{results['machine']['cpus']} CPUs", title_justify="left")
    for column in ("measure", "figure", "goal", "met"):
        table.add_column(column, overflow="fold")
    for name, measure in results["measures"].items():
        table.add_section()
        table.add_row(f"[bold]{name}", measure.get("processor"))
        for line in measure["figures"]:
            table.add_row(line["what"], figure_text(line), line["goal"], line["met"])
    Console(width=None if Console().is_terminal else 120).print(table)


def figure_text(line: dict[str, Any]) -> str:
    """A figure with its unit, and its quartiles where it has them."""
    spread = f" ({line['low']:.4g} to {line['high']:.4g})" if line["low"] is not None else ""
    return f"{line['value']:.4g} {line['unit']}".strip() + spread


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
