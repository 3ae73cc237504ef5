"""The film of both games."""

from pathlib import Path

import pytest
from PIL import Image

from world_model import film


def test_a_film_moves_and_shows_both_games(
    small_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "film.gif"
    film.main([f"--model-path={small_model}", f"--out={out}", "--steps=30"])
    assert "10 pictures" in capsys.readouterr().out
    with Image.open(out) as image:
        assert image.n_frames == 10  # type: ignore[attr-defined]
        first = image.convert("RGB")
        image.seek(9)
        last = image.convert("RGB")
    half = first.width // 2
    for side in ((0, 18, half, 218), (half, 18, first.width, 218)):
        assert first.crop(side).tobytes() != last.crop(side).tobytes()
        assert len(last.crop(side).getcolors() or []) >= 4
