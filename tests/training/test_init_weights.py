"""A run that begins with given weights: it keeps them, its digests follow from them, and nothing else decides."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import Digests, finished, recorded_digests
from small_runs import Diary, small_settings, train

import compare
import replay
from bitexact.cli.exits import BadInput, Differs
from bitexact.storage import checkpoints
from bitexact.storage.state import State
from pong.game import Pong
from training import initial_state, saved_policy
from training.settings import REINFORCE, Settings, of_preset
from training.update import compute_update


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """Weights alone, shaped as those of a small run."""
    weights = initial_state.from_seed(small_settings(tmp_path, seed=99)).weights
    checkpoints.write(tmp_path / "given.npz", State(12, weights, {}))
    return tmp_path / "given.npz"


@pytest.fixture
def settings(tmp_path: Path, given: Path) -> Settings:
    """Of a run that begins with them."""
    return small_settings(tmp_path / "run", init_weights=given)


def test_the_weights_decide_and_not_the_file(settings, given, tmp_path):
    end = train(settings)
    whole = tmp_path / "whole.npz"  # a checkpoint, of which only the weights count
    weights = saved_policy.load(given, print).weights
    checkpoints.write(whole, State(5, weights, {f"cache_{name}": array + 1 for name, array in weights.items()}))
    assert train(small_settings(tmp_path / "again", init_weights=whole)).digest() == end.digest()
    assert train(small_settings(tmp_path / "without")).digest() != end.digest()


def test_a_run_goes_on_without_the_file(settings, given):
    end = train(dataclasses.replace(settings, run_dir=settings.directory.with_name("whole")))
    train(dataclasses.replace(settings, updates=1))
    given.unlink()
    (settings.directory / "checkpoints" / "update-00000001.npz").unlink()
    diary = Diary()
    resumed = dataclasses.replace(settings, init_weights=None, resume=True, updates=6)
    assert train(resumed, diary).digest() == end.digest()
    assert diary.began_after == 0


def test_its_first_state_is_kept_for_good(settings):
    train(settings)
    assert (settings.directory / "checkpoints" / "update-00000000.npz").exists()


def test_a_run_that_has_lost_its_first_state_is_not_resumed_as_another(settings):
    train(settings)
    (settings.directory / "checkpoints" / "update-00000000.npz").unlink()
    with pytest.raises(BadInput, match="initial weights"):
        train(dataclasses.replace(settings, init_weights=None, resume=True))


def test_a_damaged_first_state_is_named(settings):
    train(settings)
    first = settings.directory / "checkpoints" / "update-00000000.npz"
    first.write_bytes(first.read_bytes()[:-100])
    with pytest.raises(BadInput, match=r"update-00000000\.npz is damaged .* the run began with it"):
        train(dataclasses.replace(settings, init_weights=None, resume=True))
    with pytest.raises(Differs, match=r"update-00000000\.npz"):
        replay.main([str(settings.directory), "--all"])


def test_weights_of_the_run_that_is_to_be_overwritten_are_read_first(settings):
    train(settings)
    newest = settings.directory / "checkpoints" / "update-00000006.npz"
    weights = saved_policy.load(newest, print).weights
    train(dataclasses.replace(settings, init_weights=newest, overwrite=True, updates=1))
    first = saved_policy.load(settings.directory / "checkpoints" / "update-00000000.npz", print).weights
    assert all(np.array_equal(first[name], weights[name]) for name in weights)


@pytest.mark.parametrize("what", ["missing", "torn", "of another shape"])
def test_weights_that_cannot_be_used_cost_no_run(settings, given, what):
    train(settings)
    before = {path: path.read_bytes() for path in settings.directory.rglob("*") if path.is_file()}
    if what == "missing":
        given.unlink()
    elif what == "torn":
        given.write_bytes(given.read_bytes()[:-100])
    else:
        checkpoints.write(given, State(1, {"W1": np.zeros((3, 2), np.float32), "W2": np.zeros(2, np.float32)}, {}))
    with pytest.raises(BadInput, match=r"--init-weights: .*given\.npz"):
        train(dataclasses.replace(settings, overwrite=True))
    assert {path: path.read_bytes() for path in before} == before


def test_compare_says_that_two_runs_began_with_other_weights(settings, tmp_path):
    train(settings)
    train(small_settings(tmp_path / "plain"))
    with pytest.raises(Differs, match="They began with other weights"):
        compare.main([str(settings.directory), str(tmp_path / "plain")])


@pytest.mark.slow
def test_the_driver_begins_with_them_and_replay_agrees(golden_run, tmp_path):
    file, run = tmp_path / "given.npz", tmp_path / "run"
    shutil.copy(golden_run.directory / "checkpoints" / "update-00000001.npz", file)
    flags = ["--preset=reinforce", "--batch-size=2", "--actors=2", "--updates=2"]
    done = finished(*flags, f"--init-weights={file}", f"--run-dir={run}")
    assert done.returncode == 0, done.stderr
    chosen = of_preset(REINFORCE, batch_size=2)
    now, expected, game = initial_state.from_weights(chosen, saved_policy.load(file, print).weights), [], Pong()
    first = now.digest()
    for _ in range(2):
        now, batch = compute_update(chosen, now, game)
        expected.append(Digests(now.digest(), [record.digest for record in batch.records]))
    assert recorded_digests(run) == expected
    assert json.loads((run / "config.json").read_text())["initial_digest"] == first
    file.unlink()
    replay.main([str(run), "--all"])
