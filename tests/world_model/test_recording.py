"""Recordings: the same bytes however they were made, whole episodes, damage named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from bitexact.cli.exits import BadInput
from world_model import files, recording
from world_model.exact import played_again
from world_model.record import RecordSettings, record
from world_model.states import SERVE, WAIT
from world_model.table import TableSettings

SETTINGS = {"episodes": 40, "seed": 4, "table": TableSettings(first_to=2)}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_three_processes_and_a_resumed_recording_give_the_bytes_of_one(tmp_path: Path) -> None:
    one, three, resumed = tmp_path / "one", tmp_path / "three", tmp_path / "resumed"
    digest = record(RecordSettings(out=one, **SETTINGS))
    assert record(RecordSettings(out=three, processes=3, **SETTINGS)) == digest
    assert contents(one) == contents(three)
    shutil.copytree(one, resumed)
    (resumed / recording.MANIFEST).unlink()
    for number in (0, 7, 33):
        recording.path_of(resumed, number).unlink()
    with pytest.raises(BadInput, match="not finished"):
        recording.read(resumed, "training")
    record(RecordSettings(out=resumed, **SETTINGS))
    assert contents(one) == contents(resumed)


def test_a_file_is_what_safetensors_itself_writes_and_reads(tmp_path: Path) -> None:
    kinds = (np.float64, np.float32, np.int64, np.int32, np.int8, np.uint8)
    arrays = {f"of {kind.__name__}": np.arange(12).astype(kind).reshape(3, 4) for kind in kinds}
    arrays |= {"empty": np.zeros((0, 5)), "one": np.array(2.5), "turned": np.arange(6.0).reshape(2, 3).T}
    files.write(tmp_path / "file", arrays, {"of": "all kinds"})
    ours, about = files.read(tmp_path / "file")
    theirs = safetensors.numpy.load_file(tmp_path / "file")
    assert about["of"] == "all kinds"
    assert ours.keys() == theirs.keys() == arrays.keys()
    for name, array in arrays.items():
        for found in (ours[name], theirs[name]):
            assert (found.dtype, found.shape) == (array.dtype, array.shape)
            assert (found == array).all()


def test_another_seed_gives_other_games(tmp_path: Path) -> None:
    first = record(RecordSettings(out=tmp_path / "a", **SETTINGS))
    assert record(RecordSettings(out=tmp_path / "b", **{**SETTINGS, "seed": 5})) != first
    with pytest.raises(BadInput, match="another recording"):
        record(RecordSettings(out=tmp_path / "a", **{**SETTINGS, "seed": 5}))


def test_the_splits_share_no_episode_and_leave_none_out(table: Path) -> None:
    numbers = {split: recording.read(table, split).numbers for split in recording.SPLITS}
    assert sorted(number for numbers_of_one in numbers.values() for number in numbers_of_one) == list(range(30))
    assert [len(numbers[split]) for split in recording.SPLITS] == [21, 3, 6]


def test_a_rally_has_no_serve_and_starts_with_one(table: Path) -> None:
    for episode in recording.read(table, "validation").episodes:
        rallies = episode.rallies()
        assert len(rallies) == 1 + episode.events[:, SERVE].sum()
        for first, end in rallies:
            assert not episode.events[first:end, SERVE].any()
            assert first == 0 or (episode.events[first - 1, SERVE] and episode.states[first, WAIT] == 0)


@pytest.mark.parametrize("damage", ["cut", "flip", "header", "swap", "manifest", "version", "missing"])
def test_a_damaged_file_is_named(table: Path, tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(table, folder)
    path = recording.path_of(folder, 0)
    data = path.read_bytes()
    manifest = folder / recording.MANIFEST
    if damage == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif damage == "header":
        path.write_bytes(b"\xff" * 8 + data[8:])
    elif damage == "swap":
        path.write_bytes(recording.path_of(folder, 1).read_bytes())
    elif damage == "missing":
        path.unlink()
    elif damage == "manifest":
        path = manifest
        path.write_text(manifest.read_text()[:-40])
    else:
        path = manifest
        path.write_text(json.dumps({**json.loads(manifest.read_text()), "version": 99}))
    with pytest.raises(BadInput, match=path.name):
        recording.read(folder, "training")


@pytest.mark.parametrize("game", ["table", "atari"])
def test_the_recorded_actions_lead_to_the_recorded_states(request: pytest.FixtureRequest, game: str) -> None:
    heldout = recording.read(request.getfixturevalue(game), "heldout", limit=1)
    number, states, actions = heldout.numbers[0], heldout.episodes[0].states[:3001], heldout.episodes[0].actions[:3000]
    assert heldout.seed == 1
    assert (played_again(heldout.layout, heldout.seed, number, actions) == states).all()
    if game == "table":  # its serves come from the game's name
        other = played_again(heldout.layout, heldout.seed, number + 1, actions)
        assert (other != states).any()
