"""The error of the ball by horizon as a picture: the model's beside the baselines'."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

from bitexact.cli.exits import BadInput

matplotlib.use("Agg")


def draw_errors(figures: dict[str, Any], path: Path) -> None:
    """Draw medians as lines, quartiles as bands. Raises BadInput where the file cannot be written."""
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for name, one in figures["open_loop"].items():
        there = [(int(horizon), errors) for horizon, errors in one["ball_error"].items() if errors]
        steps = [horizon for horizon, _ in there]
        low, median, high = zip(*(errors for _, errors in there), strict=True)
        (line,) = axes.plot(steps, median, marker="o", label=name, linewidth=2 if name == "model" else 1)
        axes.fill_between(steps, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xlabel("steps open loop")
    axes.set_ylabel("error of the ball, heights of the field")
    axes.set_yscale("symlog", linthresh=0.001)
    axes.set_title(f"{figures['game']}, {figures['model_type']}, {figures['split']} games: median and quartiles")
    axes.legend()
    try:
        figure.savefig(path, dpi=110)
    except OSError as error:
        raise BadInput(f"{path} cannot be written ({error.strerror}).") from None
    pyplot.close(figure)
