"""evaluate.py against the games played one by one in this process, and its summary against written-out formulas."""

import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, finished
from real_runs import copied, ends, is_one_sentence, state_after

import evaluate
from bitexact.reporting import verdicts
from pong.evaluation import EvaluationTask, GameResult, evaluation_id
from pong.evaluation_summary import in_words, summary
from pong.game import Pong
from training import saved_policy

pytest_plugins = ["real_runs"]

EVALUATE = ROOT / "evaluate.py"
GAMES = 3
KEYS = ["games", "mean", "ci95_low", "ci95_high", "min", "max"]
KEYS += ["points_for", "points_against", "games_won", "steps_mean"]


def played_here(run: Path, greedy: bool, seed: int = 0) -> list[GameResult]:
    weights = state_after(run, 4).weights
    task, game = EvaluationTask(greedy), Pong()
    return [task.run(game, weights, evaluation_id(seed, index))[1] for index in range(GAMES)]


def evaluated(policy: Path, *arguments: str) -> dict:
    file = policy.parent / "result.json"
    done = finished(str(policy), f"--games={GAMES}", f"--json={file}", *arguments, program=EVALUATE)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(file.read_text())


def test_it_plays_the_games_that_one_process_plays(run):
    assert evaluated(run, "--actors=2") == summary(played_here(run, greedy=False))
    claims = {one.declared.claim: one.status for one in verdicts.make([run]).verdicts}
    assert claims["In an evaluation, a score once counted never decreases"] == verdicts.PASSED


@pytest.mark.slow
@pytest.mark.parametrize("actors", [1, 3])
@pytest.mark.parametrize("how", ["--greedy", "--sampled"])
def test_the_number_of_actors_changes_nothing(run, actors, how):
    greedy = how == "--greedy"
    found = evaluated(run / "checkpoints" / "update-00000004.npz", f"--actors={actors}", how, "--seed=7")
    assert found == summary(played_here(run, greedy, seed=7))


def test_greedy_sampled_and_another_seed_are_other_games(run):
    games = [played_here(run, greedy=True), played_here(run, greedy=False), played_here(run, greedy=False, seed=1)]
    steps = [[game.steps for game in three] for three in games]
    assert steps[0] != steps[1] != steps[2]


@pytest.mark.slow
def test_it_films_the_first_game(run, tmp_path):
    evaluated(run, f"--video={tmp_path / 'game.gif'}")
    assert (tmp_path / "game.gif").stat().st_size > 10_000


def test_the_summary_is_that_of_the_formulas():
    games = [GameResult(0, 21, 3, 2000), GameResult(1, 10, 21, 3001), GameResult(2, 21, 19, 5000)]
    found = summary(games)
    rewards = [18, -11, 2]
    t = 0.95 * (2 / (4 * 0.975 * 0.025)) ** 0.5  # with two degrees of freedom, Student's distribution has this inverse
    half = t * statistics.stdev(rewards) / 3**0.5
    assert list(found) == KEYS
    assert (found["games"], found["min"], found["max"], found["games_won"]) == (3, -11, 18, 2)
    assert (found["points_for"], found["points_against"]) == (52, 43)
    expected = [3.0, 3.0 - half, 3.0 + half, 10001 / 3]
    np.testing.assert_allclose([found[key] for key in ("mean", "ci95_low", "ci95_high", "steps_mean")], expected, 1e-12)


def test_one_game_has_no_interval():
    found = summary([GameResult(0, 2, 21, 900)])
    assert (found["mean"], found["ci95_low"], found["ci95_high"]) == (-19.0, None, None)
    assert "interval" not in in_words(found)


@pytest.mark.parametrize("flag", ["--json", "--video", "--save-weights"])
def test_a_file_in_no_folder_is_refused_before_anything_is_played(run, tmp_path, flag):
    ending = ends(evaluate.main, run, f"{flag}={tmp_path / 'no' / 'game.gif'}")
    assert ending.code == 2
    assert is_one_sentence(ending.sentence)
    assert flag in ending.sentence


@pytest.mark.slow
def test_a_policy_alone_plays_the_same_games(run, tmp_path):
    found = evaluated(run, f"--save-weights={tmp_path / 'alone.npz'}")
    assert evaluated(tmp_path / "alone.npz") == found
    assert saved_policy.load(tmp_path / "alone.npz", print).arrays().keys() == {"W1", "W2"}


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def of_another_kind(path: Path) -> Path:
    np.savez(path, update=np.array(1), digest=np.array("0"), weights=np.zeros(3))
    return path


def without_checkpoints(path: Path) -> Path:
    for file in (path / "checkpoints").iterdir():
        file.unlink()
    return path


@pytest.mark.parametrize("what", ["missing", "empty", "of another kind", "no run", "no checkpoint"])
def test_bad_files_are_refused_in_one_sentence(undisturbed, tmp_path, what):
    path = {
        "missing": lambda: tmp_path / "missing.npz",
        "empty": lambda: empty(tmp_path / "empty.npz"),
        "of another kind": lambda: of_another_kind(tmp_path / "other.npz"),
        "no run": lambda: tmp_path,
        "no checkpoint": lambda: without_checkpoints(copied(undisturbed, tmp_path / "run")),
    }[what]()
    ending = ends(evaluate.main, path, "--games=1")
    assert ending.code == 2
    assert is_one_sentence(ending.sentence)
    assert str(path) in ending.sentence
