"""A game as a video: its pictures, one at a time, so that the length of a game costs no memory.

with film(run / "videos" / "evaluation.mp4") as show:
    show(game.render())
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np

from bitexact.storage import durable

_PICTURES_PER_S = 10  # games of turns have no speed of their own, and this one can be followed


@contextmanager
def film(path: Path) -> Iterator[Callable[[np.ndarray], None]]:
    """A video file (.mp4) that takes pictures of one size until the block ends. Raises DiskRefused, BadInput."""
    try:
        durable.make_folder(path.parent)
        path.open("wb").close()  # says why it cannot be written in fewer words than ffmpeg
        # Codecs want even sizes: a picture's last row or column is stretched to one.
        with imageio.get_writer(path, format="FFMPEG", fps=_PICTURES_PER_S, macro_block_size=2) as file:
            writer: Any = file  # its type does not know what a writer of pictures can do
            yield writer.append_data
    except OSError as error:
        raise durable.unwritable(path, error) from None
