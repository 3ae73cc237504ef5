"""The emulator's state and its drawing, against the emulator's own screens and scores."""

from pathlib import Path

import numpy as np

from pong.game import Pong, playing_field
from world_model import drawing, recording
from world_model.atari import Frames, play_with_whims
from world_model.states import (
    BALL_X,
    HIT_LEFT,
    HIT_RIGHT,
    LEFT_SCORE,
    POINT_LEFT,
    POINT_RIGHT,
    RIGHT_SCORE,
    SPEED_X,
    WALL,
)


class Compared(Frames):
    """Holds each step's screen to the drawing of its state."""

    def reset(self, **name: object) -> tuple[np.ndarray, dict[str, object]]:  # type: ignore[override]
        self.screens = self.equal = 0
        return super().reset(**name)  # type: ignore[arg-type]

    def advance(self, action: int) -> tuple[int, bool, bool]:
        outcome = super().advance(action)
        drawn = playing_field(drawing.screen(self.states[-1]))
        self.screens += 1
        self.equal += int((drawn.astype(np.uint8) == self._playing_field.astype(np.uint8)).all())
        return outcome


def test_the_drawing_of_a_state_is_the_emulators_screen() -> None:
    game, screens, equal = Compared(), 0, 0
    for index in (0, 1, 2, 3):
        game.reset(seed=77, options={"update": 0, "index": index})
        play_with_whims(game, 77, index)
        screens, equal = screens + game.screens, equal + game.equal
    assert screens > 5000
    assert equal / screens >= 0.999


def test_watching_each_frame_changes_nothing() -> None:
    watched, plain = Frames(), Pong()
    for game in (watched, plain):
        game.reset(seed=3, options={"update": 0, "index": 1})
    for step in range(300):
        assert watched.advance(step // 9 % 2) == plain.advance(step // 9 % 2)
        assert (watched.changed[0] == plain.changed[0]).all()
    assert len(watched.states) == 1 + 4 * 300
    assert watched.states[-1][[RIGHT_SCORE, LEFT_SCORE]].tolist() == list(plain.score())


def test_events_are_where_the_ball_turns(atari: Path) -> None:
    for episode in recording.read(atari, "training").episodes:
        points = episode.events[:, [POINT_LEFT, POINT_RIGHT]].sum(axis=0)
        assert points.tolist() == episode.states[-1, [LEFT_SCORE, RIGHT_SCORE]].tolist()
        assert points.max() == 21
        for event, low, high, comes in ((HIT_LEFT, 60, 75, -1), (HIT_RIGHT, 180, 200, 1)):
            before = episode.states[:-1][episode.events[:, event]]
            assert len(before) > 5
            assert ((before[:, BALL_X] > low) & (before[:, BALL_X] < high)).mean() > 0.98
            assert (np.sign(before[:, SPEED_X]) == comes).all()
        assert episode.events[:, WALL].sum() > 10


def test_the_ball_moves_by_its_speed_while_nothing_happens(atari: Path) -> None:
    episode = recording.read(atari, "validation").episodes[0]
    quiet = ~episode.events.any(axis=1) & (episode.states[:-1, -3] == 0)
    moved = np.diff(episode.states[:, BALL_X])
    assert (moved[quiet] == episode.states[:-1, SPEED_X][quiet]).mean() > 0.99
