"""Properties of the learned game: what a training's report says of them, and the page that lists them."""

import itertools
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bitexact.cli.exits import BadInput, PropertyFailed
from bitexact.reporting import catalog, verdicts
from bitexact.reporting.verdicts import FAILED, NEVER
from world_model import files, properties, recording
from world_model.table import Table
from world_model.train_settings import TrainSettings
from world_model.training_run import run

ROOT = Path(__file__).parents[2]
DECLARATIONS = ROOT / "world_model" / "invariants.py"


def train(settings: TrainSettings, *more: str) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own: the SDK chooses its output once."""
    names = ("recording", "out", "updates", "epoch_updates", "windows", "units", "head_units")
    flags = [f"--{name.replace('_', '-')}={getattr(settings, name)}" for name in names]
    command = [sys.executable, "-m", "world_model", "train", *flags, *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)


def test_the_page_of_properties_is_up_to_date() -> None:
    page = ROOT / "docs" / "world-model-properties.md"
    assert page.read_text() == catalog.table(catalog.read(DECLARATIONS)), "make docs"


def test_a_trainings_report_shows_every_property_of_every_run_as_passed(
    small_training: "partial[TrainSettings]", tmp_path: Path
) -> None:
    settings = small_training(out=tmp_path / "run")
    assert train(settings).returncode == 0
    report = verdicts.make([settings.out])
    report.raise_for_status()
    found = {one.declared.function: one.status for one in report.verdicts}
    assert found.keys() == {one.function for one in catalog.read(DECLARATIONS).properties}
    assert {name for name, status in found.items() if status == NEVER} == {"a_dream_scores"}
    shown = subprocess.run(
        [sys.executable, "report.py", str(settings.out)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "8 passed, 0 failed, 1 never reached" in shown.stdout


def test_a_game_that_breaks_the_rules_is_not_trained_on_and_the_report_says_how_to_see_it_again(
    small_training: "partial[TrainSettings]", table: Path, tmp_path: Path
) -> None:
    """A recording whose digests are right, and in which a point got lost."""
    layout = recording.read(table, "training").layout
    bad = tmp_path / "recording"
    bad.mkdir()
    for number in range(10):
        episode, _ = recording.read_episode(table, number, len(layout.columns))
        if number == 3:
            episode.states[np.flatnonzero(episode.events[:, 3])[-1] + 1 :, -2] -= 1
        recording.write_episode(bad, number, episode)
    recording.write_manifest(bad, range(10), layout)
    settings = small_training(recording=bad, out=tmp_path / "run")
    done = train(settings)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    report = verdicts.make([settings.out])
    (failed,) = (one for one in report.verdicts if one.status == FAILED)
    assert failed.declared.function == "a_score_is_the_sum_of_its_points"
    assert failed.details["episode"] == 3
    with pytest.raises(PropertyFailed):
        report.raise_for_status()
    words = failed.reproduce.split()
    again = subprocess.run(
        [sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert again.returncode == 1, (words, again.stderr)


def test_a_game_that_hangs_on_more_than_seed_and_actions_is_not_trained_on(
    small_training: "partial[TrainSettings]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bug: what a paddle does in a step hangs on how many steps were made in this process before."""
    step, made = Table.step, itertools.count()

    def forgetful(table: Table, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return step(table, left, right * (next(made) % 100 != 99))

    monkeypatch.setattr(Table, "step", forgetful)
    with pytest.raises(PropertyFailed, match="the exact game is a function of seed and actions"):
        run(small_training(out=tmp_path / "run"), tell=print)
    assert not (tmp_path / "run" / "model.json").exists()


def test_a_run_that_is_refused_leaves_no_folder_behind(
    small_training: "partial[TrainSettings]", tmp_path: Path
) -> None:
    out = tmp_path / "runs" / "new"
    with pytest.raises(BadInput), properties.noted_in(out):
        run(small_training(recording=tmp_path, out=out), tell=print)
    done = train(small_training(recording=tmp_path, out=out))
    assert done.returncode == 2
    assert not out.parent.exists()


def test_a_runs_settings_are_a_config_file(small_model: Path) -> None:
    said = files.read_json(small_model / "train.json")
    assert said["updates"] == 30
    assert {"config", "resume"} & said.keys() == set()
