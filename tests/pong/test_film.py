"""Videos read back picture by picture, against the screens of the game as it was played; traces to the last bit."""

import csv
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageSequence
from real_runs import is_one_sentence

from bitexact.cli.exits import BadInput
from policy import initial_weights
from pong import film
from pong.game import Pong
from pong.play import RolloutId, Trajectory, play

SEED, UPDATE, INDEX = 3, 2, 1
ROLLOUT_ID = RolloutId(SEED, UPDATE, INDEX)
STEPS = 70  # a point is lost among them
HEIGHT, WIDTH, CAPTION = 630, 480, 42  # the screen three times enlarged, the caption below it
GREEN = (92, 186, 92)
BAR = slice(330, 469)


class Watched(Pong):
    """Keeps the emulator's screens."""

    screens: list[np.ndarray]

    def advance(self, action: int) -> tuple:
        outcome = super().advance(action)
        self.screens.append(self._emulator.getScreenRGB())
        return outcome


@pytest.fixture(scope="module")
def played() -> tuple[Trajectory, list[np.ndarray]]:
    """The first steps of a game, and their screens."""
    game = Watched()
    game.screens = []
    weights = {name: 9 * array for name, array in initial_weights(SEED, 6400, 4).items()}  # sure of what it does
    whole = play(game, weights, ROLLOUT_ID)
    return first_steps(whole, STEPS), game.screens[:STEPS]


@dataclass(frozen=True)
class Film:
    """A video, its pictures one a step shown, and its length in bytes before each step."""

    path: Path
    pictures: np.ndarray  # uint8 [N, 672, 480, 3]
    sizes: list[int]


@pytest.fixture(scope="module")
def mp4(played, tmp_path_factory: pytest.TempPathFactory) -> Film:
    return filmed(tmp_path_factory.mktemp("film") / "game.mp4", played[0])


@pytest.fixture(scope="module")
def gif(played, tmp_path_factory: pytest.TempPathFactory) -> Film:
    return filmed(tmp_path_factory.mktemp("film") / "game.gif", played[0])


def filmed(path: Path, trajectory: Trajectory) -> Film:
    sizes = []

    class Measured(Pong):
        def step(self, action: int | np.int64) -> tuple:
            sizes.append(path.stat().st_size)
            return super().step(action)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(film, "Pong", Measured)
        film.write_video(path, trajectory, ROLLOUT_ID)
    return Film(path, pictures(path), sizes)


def first_steps(trajectory: Trajectory, steps: int) -> Trajectory:
    names = ("ups", "probabilities", "rewards")
    return dataclasses.replace(trajectory, **{name: getattr(trajectory, name)[:steps] for name in names})


def pictures(path: Path) -> np.ndarray:
    """What a video shows."""
    if path.suffix == ".mp4":
        with imageio.get_reader(path) as reader:
            return np.stack([np.asarray(one) for one in reader.iter_data()])
    with Image.open(path) as opened:
        return np.stack([np.asarray(one.convert("RGB")) for one in ImageSequence.Iterator(opened)])


def shown(pictures: np.ndarray) -> np.ndarray:
    """The screens in pictures, as small as the emulator's: the middle of each enlarged pixel."""
    return pictures[:, 1:HEIGHT:3, 1::3]


def bar_widths(pictures: np.ndarray) -> np.ndarray:
    row = pictures[:, HEIGHT + 21, BAR].astype(int)
    return (np.abs(row - GREEN).max(axis=2) < 40).sum(axis=1)


# ---- videos -----------------------------------------------------------------------------------------------------


def test_the_game_filmed_moves_and_has_a_point_in_it(played):
    trajectory, screens = played
    assert trajectory.rewards.any()
    assert len({screen.tobytes() for screen in screens}) > STEPS / 2


def test_an_mp4_shows_every_step_in_real_time(mp4):
    with imageio.get_reader(mp4.path) as reader:
        about, count = reader.get_meta_data(), reader.count_frames()
    assert count == STEPS
    assert about["size"] == (WIDTH, HEIGHT + CAPTION)
    assert about["fps"] == 15
    assert about["duration"] == pytest.approx(STEPS / 15, abs=0.01)


def test_a_gif_shows_every_second_step_in_real_time_and_runs_for_ever(gif):
    with Image.open(gif.path) as opened:
        assert opened.n_frames == STEPS / 2
        assert opened.size == (WIDTH, HEIGHT + CAPTION)
        assert opened.info["loop"] in (0, 65535)  # GIF has no other way to say for ever
        shown_ms = sum(one.info["duration"] for one in ImageSequence.Iterator(opened))
    assert shown_ms == pytest.approx(1000 * STEPS / 15, rel=0.03)  # it counts hundredths of a second


def test_a_gif_shows_the_emulators_own_screens(gif, played):
    assert (shown(gif.pictures) == np.array(played[1][1::2])).all()


def test_an_mp4_shows_the_emulators_own_screens(mp4, played):
    seen, screens = shown(mp4.pictures).astype(int), np.array(played[1]).astype(int)
    for t, picture in enumerate(seen):
        nearby = range(max(0, t - 2), min(STEPS, t + 3))
        differences = {other: np.abs(picture - screens[other]).mean() for other in nearby}
        assert differences[t] < 2  # of 255: what the codec loses
        nearest = min(nearby, key=differences.__getitem__)
        assert (screens[nearest] == screens[t]).all()


def test_the_caption_says_the_score_and_the_reward(gif, played):
    seen, lost = gif.pictures[:, HEIGHT:, :240], int((played[0].rewards < 0).sum())
    assert (seen[0] == caption("0 : 0   reward +0")).all()
    assert lost > 0
    assert (seen[-1] == caption(f"{lost} : 0   reward -{lost}")).all()


def caption(text: str) -> np.ndarray:
    """The opponent's points stand first, as on the screen."""
    picture = Image.new("RGB", (240, CAPTION))
    font = ImageFont.load_default(size=18)
    ImageDraw.Draw(picture).text((10, 10), text, font=font, fill=(236, 236, 236))
    return np.asarray(picture)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_gif_ends_with_the_last_step(steps, played, tmp_path):
    path = tmp_path / "game.gif"
    film.write_video(path, first_steps(played[0], steps), ROLLOUT_ID)
    seen = pictures(path)
    assert len(seen) == (steps + 1) // 2
    assert (shown(seen)[-1] == played[1][steps - 1]).all()


def test_the_bar_is_as_long_as_up_is_probable(gif, mp4, played):
    expected = np.rint(138 * played[0].probabilities) + 1  # both ends are drawn
    assert expected.min() + 100 < expected.max()
    assert bar_widths(gif.pictures).tolist() == expected[1::2].tolist()
    assert np.abs(bar_widths(mp4.pictures) - expected).max() <= 2


def test_the_score_changes_when_a_point_is_made_and_only_then(gif, played):
    score = gif.pictures[:, HEIGHT:, :240]
    changes = (score[1:] != score[:-1]).any(axis=(1, 2, 3))
    points = played[0].rewards[2::2] + played[0].rewards[3::2]
    assert changes.tolist() == (points != 0).tolist()


def test_a_gif_is_written_as_its_pictures_come(gif):
    assert len(gif.sizes) == STEPS
    assert gif.sizes[-1] > gif.path.stat().st_size / 2


# ---- what cannot be written -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["game.avi", "game", "game.mp4.txt", "mp4", "game.png"])
def test_a_video_is_called_mp4_or_gif(name):
    with pytest.raises(BadInput, match=name) as error:
        film.check_name(Path(name))
    assert is_one_sentence(str(error.value))


@pytest.mark.parametrize("name", ["game.mp4", "game.gif", "folder.with.dots/game.mp4"])
def test_these_names_are_good(name):
    film.check_name(Path(name))
    film.check_name(None)


@pytest.mark.parametrize("name", ["game.mp4", "game.gif", "game.csv"])
@pytest.mark.parametrize("place", ["missing", "file", "folder"])
def test_a_file_that_cannot_be_written_is_named_in_one_sentence(name, place, played, tmp_path, capfd):
    path = tmp_path / place / name
    if place == "file":
        path.parent.write_text("")
    if place == "folder":
        path.mkdir(parents=True)
    with pytest.raises(BadInput) as error:
        write(path, first_steps(played[0], 2))
    assert str(error.value).startswith(f"{path} cannot be written (")
    assert is_one_sentence(str(error.value))
    assert capfd.readouterr().err == ""


def write(path: Path, trajectory: Trajectory) -> None:
    if path.suffix == ".csv":
        film.write_trace(path, trajectory)
    else:
        film.write_video(path, trajectory, ROLLOUT_ID)


# ---- traces -----------------------------------------------------------------------------------------------------


def test_a_trace_holds_every_step_to_the_last_bit(played, tmp_path):
    trajectory, path = played[0], tmp_path / "game.csv"
    film.write_trace(path, trajectory)
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["step", "action", "probability_up", "reward"]
    assert [int(row[0]) for row in rows] == list(range(STEPS))
    assert [{"up": True, "down": False}[row[1]] for row in rows] == trajectory.ups.tolist()
    assert [float(row[2]) for row in rows] == trajectory.probabilities.tolist()
    assert [int(row[3]) for row in rows] == trajectory.rewards.tolist()
