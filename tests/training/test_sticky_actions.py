"""Stickiness as a setting: 0 is a plain emulator, and runs from before it was a setting go on."""

import json

import pytest
from ale_py import Action
from commands import digests_without_ray

import evaluate
import track
from bitexact.cli.exits import BadInput
from bitexact.storage import config
from pong import film
from pong.evaluation import EvaluationTask, evaluation_id
from pong.game import FRAMES_PER_STEP, STICKY_PROBABILITY, UP, Pong, _emulator
from training import initial_state
from training.replayer import Replayer
from training.settings import Settings, from_command_line, read_settings
from workload import checks

SHORT = {"batch_size": 1, "hidden_units": 2}
STEPS = 400


def up(step: int) -> int:
    """Another action every third step: a frame that repeated the one before would show."""
    return step // 3 % 2


def test_with_0_a_game_is_a_plain_emulator():
    game, peer = Settings(sticky_actions=0.0).game().make(), _emulator()
    game.reset(seed=3, options={"update": 1, "index": 2})
    for step in range(STEPS):
        reward, over, _ = game.advance(up(step))
        action = Action.RIGHT if up(step) == UP else Action.LEFT
        assert reward == sum(peer.act(action) for _ in range(FRAMES_PER_STEP))
        assert (game.picture() == peer.getScreenRGB()).all()
        assert game._held is action
        assert not over


def test_what_is_set_reaches_the_game_and_decides_the_result():
    usual, plain = (digests_without_ray(1, **SHORT, sticky_actions=p) for p in (STICKY_PROBABILITY, 0.0))
    assert usual == digests_without_ray(1, **SHORT)
    assert usual != plain
    assert Settings(sticky_actions=0.0).directory.name == "pong-seed0-batch10-stickyactions0.0"


@pytest.fixture
def run_dir(tmp_path):
    """A run's directory, as far as its config goes."""
    settings = Settings(**SHORT, run_dir=tmp_path)
    config.write(settings.directory, {"settings": settings.lasting()}, initial_state.from_seed(settings).digest())
    return settings.directory


@pytest.fixture
def plain_run(tmp_path):
    """A run without stickiness that has just begun."""
    settings = Settings(**SHORT, sticky_actions=0.0, run_dir=tmp_path)
    config.write(settings.directory, {"settings": settings.lasting()}, initial_state.from_seed(settings).digest())
    return settings


def games(settings):
    """The evaluation's first game of a run that has just begun: without stickiness, and with the usual one."""
    task, weights = EvaluationTask(greedy=False), initial_state.from_seed(settings).weights
    return [task.run(Pong(sticky), weights, evaluation_id(0, 0))[1] for sticky in (0.0, STICKY_PROBABILITY)]


def test_a_check_of_a_run_plays_its_own_game(plain_run, monkeypatch):
    monkeypatch.setattr(checks, "random_choice", lambda of: of[0])
    plain, usual = games(plain_run)
    said = checks.evaluate_checkpoint(plain_run.directory)
    assert said.endswith(f" {plain.steps} steps")
    assert plain.steps != usual.steps


def test_a_film_of_a_run_shows_its_own_game(plain_run, monkeypatch):
    shown = []

    def write_video(path, trajectory, name, game):
        shown.append(len(trajectory.ups))
        path.write_bytes(b"GIF")

    monkeypatch.setattr(film, "write_video", write_video)
    plain, _ = games(plain_run)
    assert track._filming(plain_run.directory)(initial_state.from_seed(plain_run).weights) == b"GIF"
    assert shown == [plain.steps]


def test_a_run_from_before_it_was_a_setting_goes_on_with_a_quarter(run_dir):
    path = run_dir / "config.json"
    recorded = json.loads(path.read_text())
    del recorded["settings"]["sticky_actions"]
    path.write_text(json.dumps(recorded))
    assert read_settings(run_dir).sticky_actions == 0.25
    assert from_command_line(["--resume", f"--run-dir={run_dir}"]).sticky_actions == 0.25


def test_a_run_keeps_its_own(run_dir):
    with pytest.raises(BadInput, match=r"--sticky-actions is 0\.0, but the run in .* was made with 0\.25"):
        from_command_line(["--resume", f"--run-dir={run_dir}", "--sticky-actions=0"])


def test_replay_plays_the_runs_own_game(tmp_path):
    settings = Settings(**SHORT, sticky_actions=0.0, run_dir=tmp_path)
    config.write(settings.directory, {"settings": settings.lasting()}, initial_state.from_seed(settings).digest())
    assert Replayer(settings.directory, print)._game._sticky_probability == 0.0


def test_an_evaluation_plays_the_runs_own_game_unless_told(tmp_path):
    settings = Settings(**SHORT, sticky_actions=0.0, run_dir=tmp_path)
    config.write(settings.directory, {"settings": settings.lasting()}, initial_state.from_seed(settings).digest())
    file = tmp_path / "weights.npz"
    assert evaluate.Arguments(tmp_path).stickiness() == 0.0
    assert evaluate.Arguments(tmp_path, sticky_actions=0.5).stickiness() == 0.5
    assert evaluate.Arguments(file).stickiness() == 0.25


@pytest.mark.parametrize("value", ["-0.1", "1.1", "nan"])
def test_it_is_a_probability(value):
    with pytest.raises(BadInput, match="--sticky-actions must be a number from 0 to 1"):
        from_command_line([f"--sticky-actions={value}"])


def test_a_dream_has_none_to_set():
    with pytest.raises(BadInput, match="a dream goes on as the game that it was learned from"):
        from_command_line(["--sticky-actions=0", "--train-inside=pretrained/atari-rnn"])
