"""A film of the exact game beside the dreamt one, as the page shows them.

python -m world_model film --model-path pretrained/table-rnn --out docs/world-model.gif
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from bitexact.cli import command_line
from bitexact.cli.exits import BadInput
from bitexact.storage import durable
from world_model.model import load
from world_model.model_path import resolve
from world_model.session import Session

_SIDE, _GAP, _TOP, _LINE = 200, 12, 18, 36  # pixels: of a field, between both, above them, of the error below
_STEPS_A_FRAME, _FRAME_MS = 3, 50  # 60 steps a second
_BACK, _FIELD, _GREY, _BLUE, _WHITE = "#14181d", "#0b0e12", "#97a3b1", "#6fb7ff", "#f2f5f8"
_COLOURS = {"left": "#e08a52", "right": "#5cba6a", "ball": _WHITE}


@dataclass(frozen=True)
class FilmSettings:
    """Film a game of two trackers, exact and dreamt, from one state on."""

    out: Path
    """a .gif"""
    model_path: str = "pretrained/table-rnn"
    """a model's folder, or runs:/ID/name of MLflow"""
    steps: int = 600
    """how long; 60 are a second"""
    seed: int = 0
    """of serves and players"""

    def check(self) -> None:
        """Raise BadInput for what cannot be filmed."""
        if not 3 <= self.steps <= 3600:
            raise BadInput("--steps is a number from 3 to 3,600.")
        if self.out.suffix != ".gif":
            raise BadInput(f"--out writes .gif, not {self.out.name}.")
        command_line.expect_a_folder(out=self.out)


def main(arguments: Sequence[str]) -> None:
    """The command."""
    settings = command_line.parse(FilmSettings, arguments, "python -m world_model film")
    settings.check()
    session = Session(load(resolve(settings.model_path)), settings.seed)
    errors, frames = list[float](), list[Image.Image]()
    for step in range(settings.steps):
        shown = session.tick(0)
        errors.append(shown["error"])
        if step % _STEPS_A_FRAME == 0:
            frames.append(_picture(shown, errors, settings.steps))
    data = io.BytesIO()
    frames[0].save(data, "GIF", save_all=True, append_images=frames[1:], duration=_FRAME_MS, loop=0, optimize=True)
    durable.write_atomically(settings.out, data.getvalue())
    print(f"{settings.out}: {len(frames)} pictures, {len(data.getvalue()):,} bytes")


def _picture(shown: dict[str, Any], errors: list[float], steps: int) -> Image.Image:
    """Both fields, a ring in the dream where the exact ball is, and the error so far, [H, W] of 16 colours."""
    width = 2 * _SIDE + 3 * _GAP
    image = Image.new("RGB", (width, _TOP + _SIDE + _LINE + 2 * _GAP), _BACK)
    draw = ImageDraw.Draw(image)
    for number, (name, title) in enumerate({"exact": "exact", "dream": "dreamt"}.items()):
        game, left = shown[name], _GAP + number * (_SIDE + _GAP)
        draw.text((left, 3), f"{title}   {game['score'][0]} : {game['score'][1]}", fill=_GREY)
        draw.rectangle((left, _TOP, left + _SIDE, _TOP + _SIDE), fill=_FIELD)
        for part, colour in _COLOURS.items():
            draw.rectangle(_box(game[part], left), fill=colour)
    x0, y0, x1, y1 = _box(shown["exact"]["ball"], 2 * _GAP + _SIDE)
    draw.ellipse((x0 - 4, y0 - 4, x1 + 4, y1 + 4), outline=_BLUE)
    top, base = max(0.2, *errors), image.height - _GAP
    points = [(_GAP + at / steps * (width - 2 * _GAP), base - error / top * _LINE) for at, error in enumerate(errors)]
    draw.line([points[0], *points], fill=_BLUE)
    draw.text((_GAP, base - _LINE - 8), f"error {errors[-1]:.3f}", fill=_GREY)
    return image.quantize(16)


def _box(rectangle: list[float], left: int) -> tuple[float, float, float, float]:
    x, y, width, height = (part * _SIDE for part in rectangle)
    return left + x, _TOP + y, left + x + max(1.0, width - 1), _TOP + y + max(1.0, height - 1)
