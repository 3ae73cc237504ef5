"""The run directory: who may write it, what a resume takes from it, what an overwrite leaves of it."""

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_runs import Diary, disk, full_from, go_on, small_settings, stand_in, train, without_waiting, written

from bitexact.cli.exits import BadInput, DiskRefused, PropertyFailed
from bitexact.determinism import versions
from bitexact.storage import config
from bitexact.storage.run_directory import open_for_writing
from training import initial_state
from training.run_config import opening
from training.settings import Settings

HOLD = """
import sys
from pathlib import Path
from bitexact.storage.run_directory import open_for_writing
from small_runs import small_settings
from training.run_config import opening

try:
    with open_for_writing(opening(small_settings(Path(sys.argv[1]))), print):
        print("locked", flush=True)
        sys.stdin.read()
except Exception as error:
    print(f"{type(error).__name__}: {error}", flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def quickly() -> Iterator[None]:
    with without_waiting():
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A run of six updates with checkpoints of the last two even ones."""
    settings = small_settings(tmp_path_factory.mktemp("finished") / "run", keep_checkpoints=2)
    train(settings)
    return settings


@pytest.fixture
def settings(finished: Settings, tmp_path: Path) -> Settings:
    """A copy of it."""
    shutil.copytree(finished.directory, tmp_path / "run")
    return dataclasses.replace(finished, run_dir=tmp_path / "run")


def resumed(settings: Settings) -> Settings:
    return dataclasses.replace(settings, resume=True)


def overwritten(settings: Settings) -> Settings:
    return dataclasses.replace(settings, overwrite=True)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file but the lock."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def checkpoint(settings: Settings, update: int) -> Path:
    return settings.directory / "checkpoints" / f"update-{update:08d}.npz"


def another_process(directory: Path) -> subprocess.Popen[str]:
    """One that opens the directory for writing until its input ends."""
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    arguments = [sys.executable, "-c", HOLD, str(directory)]
    return subprocess.Popen(arguments, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


# ---- one driver at a time ---------------------------------------------------------------------------------------


def test_a_second_process_is_refused_and_told_the_first_ones_process_and_host(tmp_path):
    with open_for_writing(opening(small_settings(tmp_path / "run")), print), another_process(tmp_path / "run") as other:
        said, _ = other.communicate(timeout=60)
    who = f"driver process {os.getpid()} on {socket.gethostname()}"
    assert said == (f"BadInput: {tmp_path / 'run'} is being written by {who}: stop it, or choose another --run-dir.\n")


def test_a_killed_process_leaves_no_lock(tmp_path):
    with another_process(tmp_path / "run") as other:
        assert other.stdout.readline() == "locked\n"
        with (
            pytest.raises(BadInput, match=f"is being written by driver process {other.pid} on {socket.gethostname()}:"),
            open_for_writing(opening(resumed(small_settings(tmp_path / "run"))), print),
        ):
            pytest.fail("two drivers write one run")
        other.send_signal(signal.SIGKILL)
    assert (tmp_path / "run" / "lock").read_text().startswith(f"driver process {other.pid} on ")
    train(resumed(small_settings(tmp_path / "run")))


@pytest.mark.parametrize("change", [resumed, overwritten, lambda settings: settings])
def test_whoever_is_refused_changes_nothing(settings, change):
    with (settings.directory / "metrics.jsonl").open("a") as file:
        file.write('{"update": 7')
    with open_for_writing(opening(resumed(settings)), print):
        before = contents(settings.directory), (settings.directory / "lock").read_text()
        with pytest.raises(BadInput, match="is being written by"), open_for_writing(opening(change(settings)), print):
            pytest.fail("two drivers write one run")
        assert (contents(settings.directory), (settings.directory / "lock").read_text()) == before


def test_the_lock_is_let_go_when_the_run_ends_and_when_it_fails(tmp_path):
    settings = small_settings(tmp_path / "run")
    with pytest.raises(ZeroDivisionError), open_for_writing(opening(settings), print):
        raise ZeroDivisionError
    with open_for_writing(opening(resumed(settings)), print):
        pass
    with open_for_writing(opening(resumed(settings)), print):
        pass


@pytest.mark.parametrize("replacement", [None, "another lock"])
def test_a_driver_whose_lock_is_taken_away_commits_nothing_more(tmp_path, replacement):
    settings = small_settings(tmp_path / "run", checkpoint_every=10)
    lock = settings.directory / "lock"

    def meddled(*arguments):
        if arguments[2:] == (3, 0):  # update 3, index 0
            lock.unlink()
            if replacement:
                lock.write_text(replacement)
        return stand_in(*arguments)

    diary = Diary()
    ending, sentence = (
        (PropertyFailed, r"one driver writes a run \(update 3\)") if replacement else (DiskRefused, "deleted or moved")
    )
    with pytest.raises(ending, match=sentence):
        train(settings, diary, rollout=meddled)
    assert diary.committed == [line["update"] for line in written(settings.directory)["metrics.jsonl"]] == [1, 2]
    assert not (settings.directory / "checkpoints").exists()


def test_a_driver_whose_lock_is_taken_away_saves_no_checkpoint(tmp_path):
    settings = small_settings(tmp_path / "run", checkpoint_every=1, updates=1)

    class Meddling(Diary):
        def update(self, metrics) -> None:
            (settings.directory / "lock").unlink()

    train(settings, Meddling())
    assert not (settings.directory / "checkpoints").exists()


# ---- new, resumed, begun anew -----------------------------------------------------------------------------------


def test_a_run_is_kept_with_its_settings_versions_and_first_weights(settings):
    recorded = config.read(settings.directory)
    assert Settings(**recorded["settings"]) == dataclasses.replace(settings, run_dir=None)
    assert recorded["versions"] == versions.installed()
    assert recorded["versions"]["numpy"] == np.__version__
    assert recorded["initial_digest"] == initial_state.from_seed(settings).digest()
    assert not {"resume", "overwrite", "run_dir", "redis_address"} & set(recorded["settings"])


def test_a_run_that_is_there_is_neither_resumed_nor_deleted_unasked(settings):
    before = contents(settings.directory)
    with pytest.raises(BadInput, match=r"already holds a run: go on with it with --resume, .* with --overwrite\.$"):
        train(settings)
    assert contents(settings.directory) == before


@pytest.mark.parametrize("left", ["config.json", "metrics.jsonl", "rollouts.jsonl", "checkpoints/update-00000004.npz"])
def test_what_is_left_of_a_run_is_not_mixed_with_a_new_one(settings, left):
    others = [path for path in settings.directory.rglob("*") if path.is_file()]
    for path in others:
        if path != settings.directory / left:
            path.unlink()
    with pytest.raises(BadInput, match="already holds a run"):
        train(settings)
    assert (settings.directory / left).exists()


def test_a_run_that_is_refused_before_it_began_is_not_in_the_way_of_the_mended_command(tmp_path):
    settings = small_settings(tmp_path / "run")
    with pytest.raises(BadInput, match="cannot start"), open_for_writing(opening(settings), print):
        raise BadInput("Ray cannot start on this machine.")
    assert contents(settings.directory) == {}
    train(settings)


def test_a_run_that_is_refused_once_it_has_begun_is_kept(settings):
    before = contents(settings.directory)
    with pytest.raises(BadInput, match="cannot start"), open_for_writing(opening(resumed(settings)), print):
        raise BadInput("Ray cannot start on this machine.")
    assert contents(settings.directory).keys() == before.keys()


def test_a_resume_where_there_is_no_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="holds no run"):
        train(resumed(small_settings(tmp_path / "run")))


def test_a_resume_of_a_finished_run_computes_nothing_and_changes_nothing(settings):
    diary = Diary()
    before = contents(settings.directory)
    assert go_on(settings, diary).update == 6
    after = contents(settings.directory)
    assert diary.computed == []
    assert {name for name in after if after[name] != before.get(name)} == {"events.jsonl"}
    assert after.keys() - before.keys() <= {"events.jsonl"}


def test_a_resume_with_other_package_versions_is_refused_by_name(settings, monkeypatch):
    here = {**versions.installed(), "numpy": "1.0"}
    monkeypatch.setattr(versions, "installed", lambda: here)
    difference = f"numpy 1.0 instead of {np.__version__}; "
    with pytest.raises(BadInput, match=rf"made with other package versions: here is {re.escape(difference)}"):
        train(resumed(settings))


@pytest.mark.parametrize(("name", "value"), [("seed", 1), ("hidden_units", 2)])
def test_a_resume_with_settings_that_are_another_runs_is_refused(settings, name, value):
    with pytest.raises(BadInput, match="its settings do not give its initial weights"):
        train(resumed(dataclasses.replace(settings, **{name: value})))


def test_an_overwrite_gives_what_a_new_run_gives(settings, tmp_path):
    other = dataclasses.replace(settings, seed=5, updates=3)
    fresh = dataclasses.replace(other, run_dir=tmp_path / "fresh")
    assert train(overwritten(other)).digest() == train(fresh).digest()
    assert written(settings.directory) == written(fresh.directory)
    assert contents(settings.directory).keys() == contents(fresh.directory).keys()
    assert contents(settings.directory)["config.json"] == contents(fresh.directory)["config.json"]


def test_an_overwrite_deletes_the_runs_files_and_no_strangers(settings):
    properties = settings.directory / "properties"
    properties.mkdir()
    (properties / "host-12.jsonl").write_text("{}\n")
    (settings.directory / "events.jsonl").write_text("{}\n")
    strangers = ["notes.txt", "metrics.jsonl.bak", "config.json.old", "film.mp4", ".hidden", "properties/notes.txt"]
    strangers += ["checkpoints/update-00000004.npz.bak", "checkpoints/update-best.npz", "other/metrics.jsonl"]
    for name in strangers:
        path = settings.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with open_for_writing(opening(overwritten(settings)), print):
        after = contents(settings.directory)
    assert {name: after.pop(name) for name in strangers} == dict.fromkeys(strangers, b"mine")
    assert set(after) == {"config.json"}


def test_an_overwrite_where_there_is_no_run_begins_one(tmp_path):
    assert train(overwritten(small_settings(tmp_path / "run"))).update == 6


def test_what_killed_drivers_left_half_written_is_deleted_and_strangers_stay(settings):
    ours = [".config.json.12.tmp", "checkpoints/.update-00000002.npz.12.tmp", "checkpoints/.update-00000009.npz.7.tmp"]
    strangers = [".notes.12.tmp", "notes.tmp", "checkpoints/.best.npz.12.tmp"]
    for name in ours + strangers:
        (settings.directory / name).write_text("half")
    before = contents(settings.directory)
    with open_for_writing(opening(resumed(settings)), print):
        assert contents(settings.directory).keys() == before.keys() - set(ours)


# ---- where it cannot be written ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["file", "file/run", "file/a/b"])
def test_a_directory_that_cannot_be_made_is_bad_input_and_named(tmp_path, name):
    (tmp_path / "file").touch()
    directory = tmp_path / name
    with pytest.raises(BadInput, match=f"^{directory} cannot be written .*: choose another --run-dir.$"):
        train(small_settings(directory))


def test_a_directory_for_which_there_is_no_room_is_the_disks_refusal(tmp_path):
    with disk(full_from(1)), pytest.raises(DiskRefused, match=f"^{tmp_path / 'run'}/lock cannot be written"):
        train(small_settings(tmp_path / "run"))


# ---- restored ---------------------------------------------------------------------------------------------------


def restored(settings: Settings) -> tuple[int, list[str]]:
    """The update that a resume goes on from, and what is said meanwhile."""
    diary = Diary()
    go_on(settings, diary)
    return diary.began_after, [note for note in diary.notes if not note.startswith("resumed after")]


def test_the_newest_checkpoint_is_restored(settings):
    assert restored(settings) == (6, [])


def test_an_altered_checkpoint_is_named_and_the_run_goes_on_from_the_one_before_it_to_the_same_end(settings, finished):
    data = bytearray(checkpoint(settings, 6).read_bytes())
    data[len(data) // 4] ^= 1  # in the middle of W1
    checkpoint(settings, 6).write_bytes(data)
    began_after, (note,) = restored(settings)
    assert began_after == 4
    assert note.startswith(f"{checkpoint(settings, 6)} is damaged")
    assert written(settings.directory) == written(finished.directory)
    assert checkpoint(settings, 6).read_bytes() == checkpoint(finished, 6).read_bytes()


def test_without_a_good_checkpoint_the_run_begins_at_its_initial_weights_and_comes_to_the_same_end(settings, finished):
    checkpoint(settings, 4).write_bytes(b"")
    checkpoint(settings, 6).write_bytes(b"")
    began_after, notes = restored(settings)
    assert (began_after, len(notes)) == (0, 2)
    assert written(settings.directory) == written(finished.directory)
    assert checkpoint(settings, 6).read_bytes() == checkpoint(finished, 6).read_bytes()


def test_a_damaged_checkpoint_still_to_be_written_anew_does_not_push_out_a_good_one(settings, finished):
    checkpoint(settings, 6).write_bytes(b"")
    one_kept = dataclasses.replace(settings, keep_checkpoints=1)
    assert go_on(dataclasses.replace(one_kept, updates=5, checkpoint_every=1)).update == 5
    began_after, (note,) = restored(one_kept)
    assert began_after == 5
    assert note.startswith(f"{checkpoint(settings, 6)} is damaged")
    assert written(settings.directory) == written(finished.directory)


def test_a_checkpoint_whose_digest_is_not_the_ledgers_is_named_and_not_used(settings, finished):
    other = dataclasses.replace(settings, learning_rate=2e-3, run_dir=settings.directory.with_name("other"))
    train(other)
    shutil.copy(checkpoint(other, 6), checkpoint(settings, 6))
    began_after, (note,) = restored(settings)
    assert began_after == 4
    assert note.startswith(f"{checkpoint(settings, 6)} has another digest than the ledger's update 6")
    assert written(settings.directory) == written(finished.directory)
    assert checkpoint(settings, 6).read_bytes() == checkpoint(finished, 6).read_bytes()


def test_a_checkpoint_of_an_update_whose_line_is_damaged_is_used(settings):
    path = settings.directory / "metrics.jsonl"
    text = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*text[:3], "?\n", *text[4:]]))
    checkpoint(settings, 6).unlink()
    began_after, notes = restored(settings)
    assert began_after == 4
    assert notes == [f"{path} line 4 is damaged and is not used"]


def test_every_checkpoint_of_a_run_has_the_digest_of_its_line(tmp_path):
    settings = small_settings(tmp_path / "run", checkpoint_every=1, keep_checkpoints=9)
    train(settings)
    recorded = [line["weights_digest"] for line in written(settings.directory)["metrics.jsonl"]]
    inside = [str(np.load(checkpoint(settings, update))["digest"]) for update in range(1, 7)]
    assert inside == recorded


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, [100, 200, 213]), (3, [100, 200, 210, 213]), (5, [100, 180, 190, 200, 210, 213])]
)
def test_a_run_keeps_its_last_checkpoints_and_every_hundredth(tmp_path, keep, kept):
    settings = small_settings(tmp_path / "run", batch_size=1, updates=213, checkpoint_every=10, keep_checkpoints=keep)
    train(settings)
    assert [path.name for path in sorted((settings.directory / "checkpoints").iterdir())] == [
        f"update-{update:08d}.npz" for update in kept
    ]


def test_every_hundredth_update_has_a_checkpoint_whatever_lies_between_them(tmp_path):
    settings = small_settings(tmp_path / "run", batch_size=1, updates=205, checkpoint_every=1000)
    train(settings)
    assert [path.name[:15] for path in sorted((settings.directory / "checkpoints").iterdir())] == [
        "update-00000100",
        "update-00000200",
        "update-00000205",
    ]


def test_a_json_file_that_is_no_config_is_refused(settings):
    (settings.directory / "config.json").write_text(json.dumps({"settings": {}}))
    with pytest.raises(BadInput, match=r"config\.json is damaged"):
        train(resumed(settings))
