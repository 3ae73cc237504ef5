"""A played game as a video, or as a table of its steps.

Both are made from a trajectory: as the game is a function of its name and the actions, it is played again for its
pictures, one at a time, so that the length of a game costs no memory.
"""

import csv
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from bitexact.cli.exits import BadInput
from bitexact.storage import durable
from pong.game import Pong
from pong.play import RolloutId, Trajectory

_SCALE = 3  # 160 x 210 pixels become 480 x 630
_CAPTION_HEIGHT = 42  # makes 672, a multiple of 16 as video codecs want it
WIDTH, HEIGHT = 160 * _SCALE, 210 * _SCALE + _CAPTION_HEIGHT
_GIF_EVERY = 2  # a gif leaves out every second step: browsers show at most some 10 pictures a second steadily


def check_name(path: Path | None) -> None:
    """Raise BadInput for a video file that cannot be written as its name says."""
    if path and path.suffix not in (".mp4", ".gif"):
        raise BadInput(f"--video writes .mp4 or .gif, not {path.name}.")


def write_video(path: Path, trajectory: Trajectory, rollout_id: RolloutId, game: Pong | None = None) -> None:
    """The game in real time, with the probability of going up and the reward so far below it.

    `game` is what was played, if it was not the emulator's own. Raises BadInput, DiskRefused.
    """
    game = game or Pong()
    game.reset(seed=rollout_id.seed, options=rollout_id.details)
    # imageio's other writer of gifs keeps all pictures until the end, a megabyte each; this one writes one at a time.
    every, writer_name = (_GIF_EVERY, "GIF-PIL") if path.suffix == ".gif" else (1, "FFMPEG")
    pictures_per_s = game.metadata["render_fps"] / every
    last = len(trajectory.ups) - 1
    won = np.cumsum(trajectory.rewards > 0)
    lost = np.cumsum(trajectory.rewards < 0)
    try:
        path.open("wb").close()  # says why it cannot be written in fewer words than ffmpeg
        with imageio.get_writer(path, format=writer_name, fps=pictures_per_s) as file:
            writer: Any = file  # its type does not know what a writer of pictures can do
            for t, (up, probability) in enumerate(zip(trajectory.ups, trajectory.probabilities, strict=True)):
                game.step(int(up))
                if (last - t) % every == 0:
                    writer.append_data(_picture(game.picture(), probability, int(won[t]), int(lost[t])))
    except OSError as error:
        raise durable.unwritable(path, error) from None


def write_trace(path: Path, trajectory: Trajectory) -> None:
    """One line a step: step, action, probability of up, reward. Raises BadInput, DiskRefused."""
    steps = zip(trajectory.ups.tolist(), trajectory.probabilities.tolist(), trajectory.rewards.tolist(), strict=True)
    try:
        with path.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["step", "action", "probability_up", "reward"])
            for number, (up, probability, reward) in enumerate(steps):
                table.writerow([number, "up" if up else "down", repr(probability), reward])
    except OSError as error:
        raise durable.unwritable(path, error) from None


def _picture(screen: np.ndarray, probability: float, won: int, lost: int) -> np.ndarray:
    """The screen enlarged, with a caption: uint8 [672, 480, 3]."""
    large = np.repeat(np.repeat(screen, _SCALE, axis=0), _SCALE, axis=1)
    height, width, _ = large.shape
    picture = Image.new("RGB", (width, height + _CAPTION_HEIGHT))
    picture.paste(Image.fromarray(large))
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=18)
    draw.text((10, height + 10), f"{lost} : {won}   reward {won - lost:+d}", font=font, fill=(236, 236, 236))
    draw.text((250, height + 10), f"up {probability:4.0%}", font=font, fill=(236, 236, 236))
    left, right = 330, width - 12
    draw.rectangle((left, height + 14, right, height + 28), outline=(120, 120, 120))
    draw.rectangle((left, height + 14, left + round((right - left) * probability), height + 28), fill=(92, 186, 92))
    return np.asarray(picture)
