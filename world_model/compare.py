"""Measure a model on games that it was not trained on, beside three baselines.

python -m world_model compare --model-path runs/table-rnn --recording runs/table
python -m world_model compare --model-path runs/table-rnn --recording runs/table --json figures.json
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table as Columns

from bitexact.cli import command_line
from bitexact.cli.exits import BadInput
from bitexact.storage import durable
from world_model import measure, recording
from world_model.baselines import baselines
from world_model.model import Model, load
from world_model.model_path import resolve
from world_model.play_out import outcomes_of_dream, outcomes_of_recording
from world_model.states import BALL_Y, PREDICTED_EVENTS


@dataclass(frozen=True)
class CompareSettings:
    """Compare a model with the exact game, from the same states and with the same actions."""

    model_path: str
    """a folder, or runs:/ID/name of MLflow"""
    recording: Path
    """folder of a recording of the same game"""
    split: Literal["validation", "heldout"] = "heldout"
    """which of its episodes"""
    starts: int = 512
    """how many places the comparisons start at"""
    steps: int = 300
    """how far they go, at most to the next serve"""
    seed: int = 0
    """of the places"""
    json: Path | None = None
    """write all figures to this file"""
    picture: Path | None = None
    """draw the error by horizon into this file"""

    def check(self) -> None:
        """Raise BadInput for what cannot be compared."""
        if not 1 <= self.starts <= 100_000:
            raise BadInput("--starts is a number from 1 to 100,000.")
        if not max(measure.HORIZONS) <= self.steps <= 10_000:
            raise BadInput(f"--steps is a number from {max(measure.HORIZONS)} to 10,000.")
        if self.picture and self.picture.suffix not in (".png", ".svg"):
            raise BadInput(f"--picture writes .png or .svg, not {self.picture.name}.")
        command_line.expect_a_folder(json=self.json, picture=self.picture)


def main(arguments: Sequence[str]) -> None:
    """The command."""
    settings = command_line.parse(CompareSettings, arguments, "python -m world_model compare")
    settings.check()
    model = load(resolve(settings.model_path))
    recorded = recording.read(settings.recording, settings.split)
    if recorded.layout != model.layout:
        raise BadInput(
            f"{settings.recording} is a recording of {recorded.layout.game} with other settings than the model's "
            f"{model.layout.game}: name one like that which it was trained on."
        )
    figures = measured(model, recorded, settings)
    show(figures)
    if settings.json:
        durable.write_atomically(settings.json, json.dumps(figures, indent=1).encode() + b"\n")
    if settings.picture:
        from world_model.picture import draw_errors  # matplotlib takes a second to import

        draw_errors(figures, settings.picture)


def measured(model: Model, recorded: recording.Recording, settings: CompareSettings) -> dict[str, Any]:
    """All figures: of the model and of each baseline, by name."""
    starts = measure.starts_of(recorded, settings.starts, settings.steps, settings.seed)
    low, high = model.constants.low[BALL_Y], model.constants.high[BALL_Y]
    predictors = {**baselines(float(low), float(high)), "model": measure.of_model(model)}
    return {
        "game": model.layout.game,
        "model_type": model.shape.model_type,
        "structure": model.structure,
        "split": settings.split,
        "starts": settings.starts,
        "open_loop": {name: measure.compared(one, starts, model.layout) for name, one in predictors.items()},
        "one_step_events": measure.one_step_events(model, recorded),
        "games": {"exact": outcomes_of_recording(recorded), "model": outcomes_of_dream(model, recorded, settings.seed)},
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures as tables."""
    console = Console()
    title = f"error of the ball, in heights of the field: median (quartiles) of {figures['starts']} starts"
    errors = Columns("after steps", *map(str, measure.HORIZONS), "off after", title=title)
    for name, one in figures["open_loop"].items():
        cells = [_cell(one["ball_error"][str(horizon)]) for horizon in measure.HORIZONS]
        errors.add_row(name, *cells, str(one["steps_until_off"] or "never"))
    events = Columns("event", "one step: precision", "recall", "open loop: precision", "recall", title="events")
    for name in PREDICTED_EVENTS:
        pairs = [figures["one_step_events"][name], figures["open_loop"]["model"]["events"][name]]
        events.add_row(name, *(f"{one[what]:.3f}" for one in pairs for what in ("precision", "recall")))
    games = Columns("whole games", "games", "rally: median steps (quartiles)", "points of the left side", title="games")
    for name, one in figures["games"].items():
        low, median, high = one["rally_steps"]
        games.add_row(name, str(one["games"]), f"{median:.0f} ({low:.0f} to {high:.0f})", f"{one['left_share']:.3f}")
    for table in (errors, events, games):
        console.print(table)


def _cell(quartiles: list[float]) -> str:
    if not quartiles:
        return "-"
    low, median, high = (np.format_float_positional(one, precision=4, trim="0") for one in quartiles)
    return f"{median} ({low}, {high})"
