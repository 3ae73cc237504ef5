"""The table, against a second program of one game that knows nothing of arrays, and against its own promises."""

import time

import numpy as np
import pytest

from bitexact.cli.exits import BadInput
from world_model.players import both_sides
from world_model.states import (
    BALL_X,
    BALL_Y,
    HIT_LEFT,
    HIT_RIGHT,
    LEFT_SCORE,
    RIGHT_SCORE,
    SPEED_X,
    SPEED_Y,
    WAIT,
    WALL,
)
from world_model.table import Table, TableSettings


def random_actions(steps: int, games: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-1, 2, (steps, games, 2), dtype=np.int8)


class OneGame:
    """The rules once more, in plain Python, for one rally."""

    def __init__(self, state: np.ndarray, s: TableSettings) -> None:
        self.x, self.y, self.vx, self.vy, self.left, self.right = state[:6].tolist()
        self.s = s

    def step(self, left: int, right: int) -> None:
        s, half = self.s, self.s.paddle_height / 2
        self.left = min(max(self.left + left * s.paddle_speed, half), 1 - half)
        self.right = min(max(self.right + right * s.paddle_speed, half), 1 - half)
        before, r = self.x, s.ball_size / 2
        self.x, self.y = self.x + self.vx, self.y + self.vy
        if self.y < r:
            self.y, self.vy = 2 * r - self.y, -self.vy
        elif self.y > 1 - r:
            self.y, self.vy = 2 * (1 - r) - self.y, -self.vy
        reach = (s.paddle_height + s.ball_size) / 2
        for face, paddle, sign in ((s.paddle_x + r, self.left, 1), (1 - s.paddle_x - r, self.right, -1)):
            offset = self.y - paddle
            if sign * self.x < sign * face <= sign * before and abs(offset) <= reach:
                speed = min(abs(self.vx) * s.speed_up, s.max_speed)
                self.x, self.vx, self.vy = 2 * face - self.x, sign * speed, speed * s.bounce_slope * (offset / reach)


def test_first_rallies_are_those_of_a_second_program() -> None:
    settings, games = TableSettings(), 50
    table, indices = Table(settings), np.arange(games)
    states = table.reset(3, indices)
    others = [OneGame(state, settings) for state in states]
    left, right = both_sides(settings.paddle_height, 3, indices)
    in_play, seen = np.ones(games, bool), np.zeros(6, int)
    for _ in range(400):
        actions = left.act(states), right.act(states)
        states, events = table.step(*actions)
        in_play &= states[:, WAIT] == 0
        seen += events[in_play].sum(axis=0)
        for game in in_play.nonzero()[0]:
            others[game].step(int(actions[0][game]), int(actions[1][game]))
            one = others[game]
            assert states[game, :6].tolist() == [one.x, one.y, one.vx, one.vy, one.left, one.right]
    assert (seen[[HIT_LEFT, HIT_RIGHT, WALL]] > 20).all()


def test_one_game_is_the_same_alone_and_among_others() -> None:
    many, alone, actions = Table(games=100), Table(), random_actions(1500, 100)
    many_states, alone_states = many.reset(5), alone.reset(5, np.array([42]))
    for step in actions:
        many_states, many_events = many.step(*step.T)
        alone_states, alone_events = alone.step(*step[42:43].T)
        assert (many_states[42] == alone_states[0]).all()
        assert (many_events[42] == alone_events[0]).all()


def test_a_game_ends_at_its_last_point_and_then_stands_still() -> None:
    table = Table(TableSettings(first_to=2))
    states, zero = table.reset(0), np.zeros(1, np.int8)
    for _ in range(3000):
        states, _ = table.step(zero, zero)
    assert states[0, [LEFT_SCORE, RIGHT_SCORE]].max() == 2
    after, events = table.step(zero + 1, zero + 1)
    assert (after == states).all()
    assert not events.any()


def test_serves_keep_to_their_range_and_go_both_ways() -> None:
    settings = TableSettings(serve_slope_min=0.2, serve_slope_max=0.3)
    states = Table(settings, games=500).reset(9)
    slope = np.abs(states[:, SPEED_Y] / states[:, SPEED_X])
    assert slope.min() >= 0.2 - 1e-12
    assert slope.max() <= 0.3 + 1e-12
    for column in (SPEED_X, SPEED_Y):
        assert 0.4 < (states[:, column] > 0).mean() < 0.6
    assert (states[:, [BALL_X, BALL_Y]] == 0.5).all()


def test_a_million_states_a_second() -> None:
    table, zero = Table(games=1024), np.zeros(1024, np.int8)
    table.reset(0)
    best = 0.0
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(50):
            table.step(zero, zero)
        best = max(best, 50 * 1024 / (time.perf_counter() - began))
    assert best > 1_000_000


@pytest.mark.parametrize(
    "wrong",
    [{"first_to": 0}, {"serve_slope_min": 0.5, "serve_slope_max": 0.4}, {"ball_speed": 0.5}, {"paddle_height": 2}],
)
def test_settings_that_no_game_can_be_played_with(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        TableSettings(**wrong).check()  # type: ignore[arg-type]
