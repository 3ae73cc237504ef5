"""Replays of real runs: what was recorded is confirmed, whatever was altered is found and named."""

import csv
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
from real_runs import (
    ROOT,
    alter,
    alter_config,
    copied,
    damage,
    ends,
    is_one_sentence,
    lines,
    real_settings,
    state_after,
)
from small_runs import Diary

import policy
import replay
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprint
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.run_directory import open_for_writing
from bitexact.storage.state import State
from pong.game import Pong
from pong.play import RolloutId, Trajectory, play
from training import initial_state
from training.replayer import Replayer
from training.rmsprop import RMSProp
from training.rollout_record import RolloutRecord
from training.rollout_task import GradientTask
from training.run_config import opening

pytest_plugins = ["real_runs"]

CHECKPOINT = "checkpoints/update-{:08d}.npz"
_done: dict[tuple, tuple[Arrays, RolloutRecord]] = {}


@pytest.fixture(autouse=True)
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute no rollout twice in these tests: it is a function of its arguments, and takes its time."""
    run = GradientTask.run
    monkeypatch.setattr(GradientTask, "run", lambda task, *arguments: remember(run, task, *arguments))


def remember(
    run: Callable[..., Any], task: GradientTask, game: Pong, weights: Arrays, rollout_id: RolloutId
) -> tuple[Arrays, RolloutRecord]:
    key = (fingerprint(weights), task, rollout_id)
    if key not in _done:
        _done[key] = run(task, game, weights, rollout_id)
    gradient, record = _done[key]
    return {name: array.copy() for name, array in gradient.items()}, record


def recorded(run: Path, update: int, index: int | None = None) -> str:
    """The digest that the ledger names an update, or one of its rollouts, by."""
    if index is None:
        return lines(run / "metrics.jsonl")[update - 1]["weights_digest"]
    (digest,) = (
        line["digest"] for line in lines(run / "rollouts.jsonl") if (line["update"], line["index"]) == (update, index)
    )
    return digest


def shortened(run: Path, updates: int) -> Path:
    """A run as it was after some of its updates, its later checkpoints included."""
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        kept = [line for line in lines(run / name) if line["update"] <= updates]
        (run / name).write_text("".join(json.dumps(line) + "\n" for line in kept))
    return run


def other(digest: str) -> str:
    return digest[::-1]


def save_altered(run: Path, update: int, change: Callable[[State], None]) -> None:
    """Alter a checkpoint's arrays, and let its own digest agree with them."""
    state = state_after(run, update)
    change(state)
    Checkpoints(run / "checkpoints").save(state)


def next_float(array: np.ndarray, *where: int) -> None:
    array[where] = np.nextafter(array[where], np.float32(np.inf))


# ---- what was recorded comes out again --------------------------------------------------------------------------


@pytest.mark.parametrize(("update", "start"), [(1, 0), (3, 2), (4, 2)])
def test_an_update_gives_its_digest_again_from_the_nearest_checkpoint_before_it(undisturbed, update, start):
    ending = ends(replay.main, undisturbed, f"--update={update}")
    assert ending.code == 0
    assert f"the same: update {update}, recomputed after update {start}" in ending.output
    assert recorded(undisturbed, update) in ending.output


@pytest.mark.parametrize(("update", "index"), [(1, 1), (3, 0)])
def test_a_rollout_gives_its_digest_again(undisturbed, update, index):
    ending = ends(replay.main, undisturbed, f"--update={update}", f"--rollout={index}")
    assert ending.code == 0
    assert f"the same: rollout {index} of update {update}" in ending.output
    assert recorded(undisturbed, update, index) in ending.output


def test_a_run_that_was_killed_and_resumed_agrees_with_its_ledger(resumed):
    assert [line["event"] for line in lines(resumed / "events.jsonl")] == [
        "resumed after update 2; the ledger ends at update 3"
    ]
    ending = ends(replay.main, resumed, "--all")
    assert ending.code == 0
    assert "the same: 4 updates and 2 checkpoints" in ending.output
    assert recorded(resumed, 4) in ending.output


def test_a_run_in_progress_is_only_read(run):
    shortened(run, 3)
    settings = dataclasses.replace(real_settings(run), resume=True)
    with open_for_writing(opening(settings), Diary().note):
        for name in ("metrics.jsonl", "rollouts.jsonl", "events.jsonl"):
            with (run / name).open("a") as file:
                file.write('{"update": 4, "ind')
        before = contents(run)
        ending = ends(replay.main, run, "--update=3")
        assert contents(run) == before
    assert ending.code == 0
    assert recorded_in(before[run / "metrics.jsonl"][0], 3) in ending.output


def contents(directory: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file with when it was last changed, and every folder with when a name in it was."""
    return {
        path: (path.read_bytes() if path.is_file() else b"", path.stat().st_mtime_ns)
        for path in [directory, *directory.rglob("*")]
    }


def recorded_in(metrics: bytes, update: int) -> str:
    return json.loads(metrics.splitlines()[update - 1])["weights_digest"]


def test_other_package_versions_are_told_of(run):
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(config))
    assert "instead of 1.0" in ends(replay.main, run, "--update=99").output


def test_replay_compare_and_report_do_without_ray():
    code = "import compare, replay, report, sys; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# ---- what was altered is found ----------------------------------------------------------------------------------


def test_an_altered_weights_digest_is_found(run):
    alter(run / "metrics.jsonl", lambda line: line.update(weights_digest=other(line["weights_digest"])), update=1)
    assert_differs(run, "--update=1", names=["update 1 differs", "recorded digest, although its rollouts are equal"])


def test_the_first_array_that_differs_is_named(run):
    def change(line: dict) -> None:
        line["weights_digest"] = other(line["weights_digest"])
        for name in ("W2", "cache_W2"):
            line["array_digests"][name] = other(line["array_digests"][name])

    alter(run / "metrics.jsonl", change, update=1)
    assert_differs(run, "--update=1", names=["update 1 differs", "its W2, although its rollouts are equal"])


def alter_rollout(run: Path, update: int, index: int, *arrays: str) -> None:
    def change(line: dict) -> None:
        line["digest"] = other(line["digest"])
        for name in arrays:
            line["arrays"][name] = other(line["arrays"][name])

    alter(run / "rollouts.jsonl", change, update=update, index=index)


def test_the_first_rollout_that_differs_and_its_first_array_are_named(run):
    alter_rollout(run, 1, 0, "rewards", "W2")
    alter_rollout(run, 1, 1, "actions")
    assert_differs(run, "--update=1", names=["update 1 differs", "rollout 0, in its rewards"])
    assert_differs(run, "--update=1", "--rollout=1", names=["update 1 differs", "rollout 1, in its actions"])


def test_the_first_update_that_differs_is_named(run):
    alter_rollout(run, 2, 1, "W1")
    alter_rollout(run, 3, 0, "W1")
    assert_differs(run, "--all", names=["update 2 differs", "rollout 1, in its W1"])


def test_a_rollout_that_is_sound_is_confirmed_beside_one_that_is_not(run):
    alter_rollout(run, 1, 1, "W1")
    assert ends(replay.main, run, "--update=1", "--rollout=0").code == 0


@pytest.mark.parametrize("name", ["reward", "steps", "points_won", "points_lost"])
def test_an_altered_number_of_a_rollout_is_found(run, name):
    alter(run / "rollouts.jsonl", lambda line: line.update({name: line[name] + 1}), update=2, index=1)
    ending = ends(replay.main, run, "--update=2")
    assert ending.code == 1
    assert f"rollout 1, in its {name}" in ending.sentence


@pytest.mark.parametrize("arguments", [("--update=3",), ("--update=3", "--rollout=1"), ("--all",)])
def test_altered_weights_in_a_checkpoint_are_found(run, arguments):
    shortened(run, 3)
    save_altered(run, 2, lambda state: next_float(state.weights["W2"], 1))
    assert_differs(run, *arguments, names=[CHECKPOINT.format(2), "update 2", "its W2"])


def test_an_altered_optimizer_state_in_a_checkpoint_is_found(run):
    save_altered(run, 2, lambda state: next_float(state.optimizer["cache_W1"], 3000, 1))
    assert_differs(run, "--update=3", names=[CHECKPOINT.format(2), "its cache_W1"])


def test_altered_weights_are_found_although_the_checkpoints_update_has_lost_its_record(run):
    damage(run / "metrics.jsonl", 1)
    save_altered(run, 2, lambda state: state.weights["W2"].__imul__(-1))
    assert_differs(run, "--update=3", names=["update 3 differs", "rollout 0, in its "])


def test_a_changed_seed_is_found(run):
    alter_config(run, seed=1)
    assert_differs(run, "--update=3", names=["initial weights", "seed 1"])


def test_a_changed_seed_is_found_although_the_initial_digest_agrees_with_it(run):
    alter_config(run, seed=1)
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["initial_digest"] = initial_state.from_seed(real_settings(run, seed=1)).digest()
    path.write_text(json.dumps(config))
    assert_differs(run, "--update=1", names=["update 1 differs", "rollout 0, in its actions"])


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"learning_rate": 0.002}, "its W1, although its rollouts are equal"),
        ({"decay_rate": 0.98}, "its W1, although its rollouts are equal"),
        ({"discount": 0.98}, "rollout 0, in its W1"),
        ({"hidden_units": 3}, "initial weights"),
    ],
)
def test_a_changed_setting_is_found(run, change, difference):
    alter_config(run, **change)
    assert_differs(run, "--update=1", names=[difference])


def assert_differs(run: Path, *arguments: str, names: list[str]) -> None:
    ending = ends(replay.main, run, *arguments)
    assert ending.code == 1
    assert is_one_sentence(ending.sentence)
    assert [name for name in names if name not in ending.sentence] == []
    assert str(run) in ending.sentence


# ---- what is lost is told of, and is no difference --------------------------------------------------------------


@pytest.mark.parametrize("tear", [lambda data: data[:-1], lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_torn_checkpoint_is_named_and_the_one_before_it_used(run, tear):
    path = run / CHECKPOINT.format(2)
    path.write_bytes(tear(path.read_bytes()))
    replayed = Replayer(run, print)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replayed, "_replayed", lambda state, last: dataclasses.replace(state, update=last))
        ending = ends(lambda _: print(replayed.update(3)))
    assert ending.output.startswith(f"{path} is damaged (")
    assert "recomputed after update 0" in ending.output


def test_a_torn_checkpoint_on_the_way_is_named_and_not_counted(run):
    shortened(run, 2)
    path = run / CHECKPOINT.format(2)
    path.write_bytes(path.read_bytes()[:1000])
    ending = ends(replay.main, run, "--all")
    assert ending.code == 0
    assert f"{path} is damaged (" in ending.output
    assert "the same: 2 updates and 0 checkpoints" in ending.output


def test_lost_lines_are_named_and_the_rest_is_compared(run):
    shortened(run, 2)
    damage(run / "metrics.jsonl", 0)
    damage(run / "rollouts.jsonl", 3)
    ending = ends(replay.main, run, "--all")
    assert ending.code == 0
    assert f"{run / 'metrics.jsonl'} line 1 is damaged" in ending.output
    assert f"{run / 'rollouts.jsonl'} line 4 is damaged" in ending.output
    assert "not compared in update 1, for want of a sound record: its digest\n" in ending.output
    assert "not compared in update 2, for want of a sound record: rollout 1\n" in ending.output
    assert "the same: 1 updates and 1 checkpoints" in ending.output


def test_a_difference_is_found_beside_a_lost_line(run):
    damage(run / "rollouts.jsonl", 0)
    alter_rollout_after_damage(run)
    assert_differs(run, "--update=1", names=["update 1 differs", "rollout 1, in its recorded digest"])


def alter_rollout_after_damage(run: Path) -> None:
    path = run / "rollouts.jsonl"
    damaged, *rest = path.read_text().splitlines(keepends=True)
    line = json.loads(rest[0])
    rest[0] = json.dumps(line | {"digest": other(line["digest"])}) + "\n"
    path.write_text("".join([damaged, *rest]))


# ---- an update that was never committed -------------------------------------------------------------------------


def test_the_update_after_the_last_is_recomputed_and_called_unrecorded(undisturbed, run):
    shortened(run, 2)
    ending = ends(replay.main, run, "--update=3")
    assert ending.code == 0
    assert "not recorded, the ledger ends at update 2: update 3" in ending.output
    assert recorded(undisturbed, 3) in ending.output
    assert "the same" not in ending.output


def test_a_rollout_after_the_last_update_is_recomputed_and_called_unrecorded(undisturbed, run):
    shortened(run, 2)
    ending = ends(replay.main, run, "--update=3", "--rollout=1")
    assert ending.code == 0
    assert "not recorded, the ledger ends at update 2: rollout 1 of update 3" in ending.output
    assert recorded(undisturbed, 3, 1) in ending.output
    assert ends(replay.main, run, "--update=3", "--rollout=2").code == 2


def test_a_property_that_stopped_a_run_fails_again(run, monkeypatch):
    def without_first_weight(*arguments: object) -> tuple:
        weights, optimizer = step(*arguments)
        weights["W1"][0, 0] = np.nan
        return weights, optimizer

    step = RMSProp.step
    shortened(run, 2)
    monkeypatch.setattr(RMSProp, "step", without_first_weight)
    ending = ends(replay.main, run, "--update=3")
    assert ending.code == 1
    assert ending.sentence == "property failed: weights are finite (update 3)"


def test_a_property_that_stopped_a_rollout_fails_again(run, monkeypatch):
    def infinite(weights: dict, *arguments: object) -> dict:
        return {name: np.full_like(array, np.inf) for name, array in weights.items()}

    shortened(run, 2)
    monkeypatch.setattr(policy, "gradient", infinite)
    monkeypatch.setattr(sys.modules[__name__], "_done", {})
    ending = ends(replay.main, run, "--update=3", "--rollout=1")
    assert ending.code == 1
    assert ending.sentence == "property failed: a gradient is finite (update 3, index 1)"


# ---- films and traces -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trajectory(undisturbed: Path) -> Trajectory:
    """Rollout 0 of update 3, played once more."""
    return play(Pong(), state_after(undisturbed, 2).weights, RolloutId(real_settings(undisturbed).seed, 3, 0))


def test_a_rollout_is_traced(undisturbed, trajectory, tmp_path):
    trace = tmp_path / "game.csv"
    assert ends(replay.main, undisturbed, "--update=3", "--rollout=0", f"--trace={trace}").code == 0
    with trace.open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [{"up": True, "down": False}[row[1]] for row in rows] == trajectory.ups.tolist()
    assert [float(row[2]) for row in rows] == trajectory.probabilities.tolist()
    assert [int(row[3]) for row in rows] == trajectory.rewards.tolist()


@pytest.mark.slow
def test_a_whole_game_is_filmed(undisturbed, trajectory, tmp_path):
    mp4, gif = tmp_path / "game.mp4", tmp_path / "game.gif"
    for video in (mp4, gif):
        assert ends(replay.main, undisturbed, "--update=3", "--rollout=0", f"--video={video}").code == 0
    with imageio.get_reader(mp4) as reader:
        assert reader.count_frames() == len(trajectory.ups)
    with imageio.get_reader(gif) as reader:
        assert reader.get_length() == (len(trajectory.ups) + 1) // 2


@pytest.mark.parametrize("option", ["--video", "--trace"])
def test_a_film_that_cannot_be_written_is_bad_input(undisturbed, tmp_path, option):
    path = tmp_path / "missing" / "game.mp4"
    ending = ends(replay.main, undisturbed, "--update=3", "--rollout=0", option, path)
    assert ending.code == 2
    assert is_one_sentence(ending.sentence)
    assert str(path) in ending.sentence


# ---- bad input --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--update=99"], "no sound record of update 99; its last is 4"),
        (["--update=6"], "no sound record of update 6; its last is 4"),
        (["--update=0"], "no sound record of update 0"),
        (["--update=-1"], "no sound record of update -1"),
        (["--update=x"], "--update"),
        (["--update=3", "--rollout=2"], "no record of rollout 2 of update 3"),
        (["--update=3", "--rollout=-1"], "no record of rollout -1 of update 3"),
        (["--update=9", "--rollout=0"], "no sound record of update 9"),
        (["--update=3", "--video=game.mp4"], "--video and --trace go with --rollout"),
        (["--update=3", "--trace=game.csv"], "--video and --trace go with --rollout"),
        (["--all", "--video=game.mp4"], "--video and --trace go with --rollout"),
        (["--update=3", "--rollout=0", "--video=game.avi"], "--video writes .mp4 or .gif, not game.avi"),
        (["--all", "--rollout=0"], "--rollout goes with --update"),
        (["--rollout=0"], "either --update K or --all"),
        ([], "either --update K or --all"),
        (["--all", "--update=3"], "either --update K or --all"),
        (["--every"], "--every"),
    ],
)
def test_bad_input_is_named_in_one_sentence(undisturbed, arguments, reason):
    ending = ends(replay.main, undisturbed, *arguments)
    assert ending.code == 2
    assert reason in ending.sentence
    assert is_one_sentence(ending.sentence)


def test_an_update_whose_record_is_lost_cannot_be_replayed(run):
    damage(run / "metrics.jsonl", 0)
    ending = ends(replay.main, run, "--update=1")
    assert ending.code == 2
    assert "no sound record of update 1" in ending.sentence
    assert f"{run / 'metrics.jsonl'} line 1 is damaged" in ending.output


def test_a_folder_without_a_run_is_bad_input(tmp_path):
    for directory in (tmp_path, tmp_path / "missing"):
        ending = ends(replay.main, directory, "--all")
        assert ending.code == 2
        assert f"{directory} holds no run" in ending.sentence
        assert is_one_sentence(ending.sentence)


def test_a_damaged_config_is_bad_input(run):
    (run / "config.json").write_text("{")
    ending = ends(replay.main, run, "--all")
    assert ending.code == 2
    assert "config.json is damaged" in ending.sentence


def test_a_run_without_an_update_has_nothing_to_replay(run):
    ending = ends(replay.main, shortened(run, 0), "--all")
    assert ending.code == 2
    assert "no update yet" in ending.sentence


# ---- as a command -----------------------------------------------------------------------------------------------


def test_the_command_ends_with_its_exit_code_and_one_line_on_standard_error(undisturbed, tmp_path):
    altered = copied(undisturbed, tmp_path / "altered")
    save_altered(altered, 2, lambda state: next_float(state.weights["W2"], 0))
    different = command(altered, "--update=3")
    assert different.returncode == 1
    assert different.stderr.startswith(f"replay.py: {altered / CHECKPOINT.format(2)} differs")
    bad = command(undisturbed, "--update=99")
    assert bad.returncode == 2
    assert [done.stderr.count("\n") for done in (different, bad)] == [1, 1]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, ROOT / "replay.py", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment, timeout=60)
