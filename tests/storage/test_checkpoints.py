"""Checkpoints read back, altered, pruned: what is loaded has the digest that was saved, or nothing is loaded."""

import dataclasses
import io
import os
import random
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_runs import Kill, Killed, PowerCut, disk, full_from, small_settings

from bitexact.cli.exits import DiskRefused
from bitexact.storage.checkpoints import BadCheckpoint, Checkpoints
from bitexact.storage.state import State
from training import initial_state

ALTERATIONS = 200


def some_state(update: int, hidden_units: int = 1) -> State:
    """A state with numbers of its own in all its arrays."""
    initial = initial_state.from_seed(small_settings(Path(), seed=update, hidden_units=hidden_units))
    return State(update, initial.weights, {f"cache_{name}": array * array for name, array in initial.weights.items()})


@pytest.fixture
def two(tmp_path: Path) -> Checkpoints:
    """Checkpoints of updates 4 and 6."""
    two = Checkpoints(tmp_path / "checkpoints")
    for update in (4, 6):
        two.save(some_state(update))
    return two


def newest(two: Checkpoints, recorded=lambda update: None) -> tuple[State | None, list[str]]:
    complaints: list[str] = []
    return two.newest_good(some_state(0), 6, complaints.append, recorded), complaints


# ---- saved and loaded -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden_units", [1, 3])
def test_a_checkpoint_reads_back_to_the_bit(tmp_path, hidden_units):
    saved = some_state(7, hidden_units)
    Checkpoints(tmp_path).save(saved)
    loaded = Checkpoints(tmp_path).load(7, saved)
    assert loaded.update == 7
    for name, array in saved.arrays().items():
        np.testing.assert_array_equal(loaded.arrays()[name], array, strict=True)
    assert loaded.digest() == saved.digest()


def test_special_numbers_read_back_to_the_bit(tmp_path):
    bits = np.array([0x80000000, 1, 0x7F800000, 0xFF800000, 0x7FC00001, 0x7F7FFFFF], np.uint32).view(np.float32)
    saved = State(1, {"W2": bits}, {"cache_W2": bits[::-1]})
    Checkpoints(tmp_path).save(saved)
    loaded = Checkpoints(tmp_path).load(1, saved)
    assert [array.tobytes() for array in loaded.arrays().values()] == [bits.tobytes(), bits[::-1].tobytes()]


def test_there_is_a_checkpoint_for_each_update_saved_in_order(tmp_path):
    some = Checkpoints(tmp_path)
    for update in (12, 3, 100_000_000, 0):
        some.save(some_state(update))
    (tmp_path / "update-mine.npz").touch()
    (tmp_path / ".update-00000009.npz.1.tmp").touch()
    assert some.updates() == [0, 3, 12, 100_000_000]


def test_a_folder_without_checkpoints_has_none(tmp_path):
    none = Checkpoints(tmp_path / "nowhere")
    assert none.updates() == []
    assert newest(none) == (None, [])


def test_a_checkpoint_lasts_when_save_returns(tmp_path):
    power = PowerCut(tmp_path)
    with disk(power):
        Checkpoints(tmp_path / "run" / "checkpoints").save(some_state(3))
    power.cut()
    assert Checkpoints(tmp_path / "run" / "checkpoints").load(3, some_state(3)).digest() == some_state(3).digest()


def test_a_save_killed_at_any_call_leaves_the_checkpoint_before(two):
    for at in range(1, 6):
        with disk(Kill(at, half=True)), pytest.raises(Killed):
            two.save(dataclasses.replace(some_state(9), update=6))
        if at < 5:
            assert two.load(6, some_state(6)).digest() == some_state(6).digest()
    assert two.load(6, some_state(6)).digest() == some_state(9).digest()  # killed before its name was synchronised


@pytest.mark.parametrize("short", [False, True])
def test_a_checkpoint_that_the_disk_refuses_is_named_and_leaves_nothing(two, short):
    before = sorted(two.path(0).parent.iterdir())
    with disk(full_from(2, short)), pytest.raises(DiskRefused, match=f"^{re.escape(str(two.path(8)))} "):
        two.save(some_state(8))
    assert sorted(two.path(0).parent.iterdir()) == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    with disk(full_from(1)), pytest.raises(DiskRefused, match=f"^{tmp_path / 'checkpoints'} cannot be written"):
        Checkpoints(tmp_path / "checkpoints").save(some_state(1))


# ---- altered ----------------------------------------------------------------------------------------------------


def alterations(data: bytes) -> Iterator[bytes]:
    """A bit turned over, some bytes overwritten or taken out, or the end cut off: somewhere in the file."""
    chance = random.Random(20240229)
    for number in range(ALTERATIONS):
        # Every other one near an end, where the zip file's own tables are: most of the file is numbers.
        span = len(data) if number % 2 else 600
        at = (chance.randrange(span) if chance.random() < 0.5 else len(data) - 1 - chance.randrange(span)) % len(data)
        length = chance.randrange(1, 20)
        match number % 4:
            case 0 | 1:
                yield data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
            case 2:
                yield data[:at] + chance.randbytes(length) + data[at + length :]
            case 3:
                yield data[:at] + (data[at + length :] if chance.random() < 0.5 else b"")


def test_an_altered_checkpoint_is_named_and_the_one_before_it_used_or_nothing_of_it_has_changed(two):
    whole, path = two.path(6).read_bytes(), two.path(6)
    refused = 0
    for altered in alterations(whole):
        path.write_bytes(altered)
        good, complaints = newest(two)
        if complaints:
            refused += 1
            assert good.update == 4
            assert good.digest() == some_state(4).digest()
            assert len(complaints) == 1
            assert re.match(rf"{re.escape(str(path))} is (damaged|of another shape) \(", complaints[0])
            assert complaints[0].endswith("; the one before it is used")
        else:
            assert good.update == 6
            assert good.digest() == some_state(6).digest()
    print(f"{ALTERATIONS} alterations of a checkpoint: {refused} refused, {ALTERATIONS - refused} without effect")
    assert refused > ALTERATIONS * 0.8


def test_an_altered_number_is_found_by_the_digest_where_the_zip_file_agrees_with_itself(two):
    arrays = some_state(6).arrays()
    arrays["cache_W1"][5, 0] = np.nextafter(arrays["cache_W1"][5, 0], np.float32(1.0))
    rewrite(two.path(6), **arrays)
    good, complaints = newest(two)
    assert good.update == 4
    assert complaints == [f"{two.path(6)} is damaged (its digest is not that of its arrays); the one before it is used"]


@pytest.mark.parametrize("name", ["update", "digest", "W1", "W2", "cache_W1", "cache_W2"])
def test_a_checkpoint_without_one_of_its_arrays_is_refused(two, name):
    rewrite(two.path(6), without=name)
    with pytest.raises(BadCheckpoint, match=f"^{re.escape(str(two.path(6)))} is damaged"):
        two.load(6, some_state(6))


@pytest.mark.parametrize("content", [b"", b"\0" * 1000, b"PK\x05\x06" + b"\0" * 18, b"\x93NUMPY\x01\0v\0", b"text"])
def test_a_file_that_is_no_checkpoint_at_all_is_refused(two, content):
    two.path(6).write_bytes(content)
    with pytest.raises(BadCheckpoint, match="is damaged"):
        two.load(6, some_state(6))


def test_a_single_array_is_no_checkpoint(two):
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    two.path(6).write_bytes(buffer.getvalue())
    with pytest.raises(BadCheckpoint, match="is damaged"):
        two.load(6, some_state(6))


def test_another_updates_checkpoint_under_this_ones_name_is_refused(two):
    two.path(4).replace(two.path(5))
    with pytest.raises(BadCheckpoint, match=rf"^{re.escape(str(two.path(5)))} is another update's \(4\)"):
        two.load(5, some_state(5))


@pytest.mark.parametrize("other", [some_state(6, hidden_units=2), some_state(6, hidden_units=200)])
def test_a_checkpoint_of_another_shape_is_refused(two, other):
    two.save(other)
    with pytest.raises(BadCheckpoint, match="is of another shape"):
        two.load(6, some_state(6))
    good, (complaint,) = newest(two)
    assert good.update == 4
    assert str(two.path(6)) in complaint


def test_a_checkpoint_of_another_dtype_is_refused(two):
    wide = {name: array.astype(np.float64) for name, array in some_state(6).arrays().items()}
    two.save(some_state(6).with_arrays(6, wide))
    with pytest.raises(BadCheckpoint, match="is of another shape"):
        two.load(6, some_state(6))


def test_a_checkpoint_that_is_not_there_is_named(two):
    with pytest.raises(BadCheckpoint, match=f"^there is no {re.escape(str(two.path(5)))}$"):
        two.load(5, some_state(5))


def test_a_folder_in_a_checkpoints_place_is_told_of(two):
    two.path(6).unlink()
    two.path(6).mkdir()
    with pytest.raises(BadCheckpoint, match="cannot be read"):
        two.load(6, some_state(6))


def test_all_bad_ones_are_named_and_then_there_is_none(two):
    for update in (4, 6):
        two.path(update).write_bytes(b"")
    good, complaints = newest(two)
    assert good is None
    assert [complaint.split(" is damaged")[0] for complaint in complaints] == [str(two.path(6)), str(two.path(4))]


def test_a_checkpoint_with_another_digest_than_recorded_is_named_and_the_one_before_it_used(two):
    recorded = {4: some_state(4).digest(), 6: some_state(5).digest()}
    good, complaints = newest(two, recorded.get)
    assert good.update == 4
    assert complaints == [f"{two.path(6)} has another digest than the ledger's update 6; the one before it is used"]


def test_a_checkpoint_with_the_recorded_digest_or_of_an_update_not_recorded_is_used(two):
    assert newest(two, {6: some_state(6).digest()}.get)[0].update == 6
    assert newest(two, {}.get)[0].update == 6


# ---- pickles ----------------------------------------------------------------------------------------------------


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize("name", ["W1", "digest", "update", "cache_W2"])
def test_a_pickle_in_a_checkpoint_is_refused_and_not_executed(two, tmp_path, name):
    rewrite(two.path(6), **{name: np.array([Payload(tmp_path / "executed")], dtype=object)})
    with pytest.raises(BadCheckpoint, match=r"is damaged \(it holds objects\)|is damaged \(ValueError\)"):
        two.load(6, some_state(6))
    assert not (tmp_path / "executed").exists()
    with pytest.raises(ValueError, match="Object arrays"), np.load(two.path(6)) as file:
        file[name]
    with np.load(two.path(6), allow_pickle=True) as file:
        file[name]
    assert (tmp_path / "executed").exists()  # it would have worked


def test_a_file_that_is_one_pickle_is_refused_and_not_executed(two, tmp_path):
    two.path(6).write_bytes(np.array([Payload(tmp_path / "executed")], dtype=object).dumps())
    with pytest.raises(BadCheckpoint, match="is damaged"):
        two.load(6, some_state(6))
    assert not (tmp_path / "executed").exists()


def test_a_checkpoint_holds_no_pickle(two):
    with zipfile.ZipFile(two.path(6)) as file:
        headers = {name: file.read(name)[:128] for name in file.namelist()}
    assert set(headers) == {f"{name}.npy" for name in ("update", "digest", "W1", "W2", "cache_W1", "cache_W2")}
    assert [name for name, header in headers.items() if b"'descr': '|O'" in header] == []


def test_an_array_of_objects_is_not_saved(tmp_path):
    objects = np.array([Payload(tmp_path)], dtype=object)
    with pytest.raises((ValueError, TypeError)):
        Checkpoints(tmp_path / "checkpoints").save(State(1, {"W2": objects}, {"cache_W2": objects}))


def rewrite(path: Path, without: str = "", **others: np.ndarray) -> None:
    """The same file with some of its arrays replaced, and its digest as it was."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != without}
    np.savez(path, **arrays | others)


# ---- pruned -----------------------------------------------------------------------------------------------------


@pytest.fixture
def many(tmp_path: Path) -> Checkpoints:
    """Empty files in the places of checkpoints of every tenth update up to 330."""
    many = Checkpoints(tmp_path)
    for update in range(10, 331, 10):
        many.path(update).touch()
    return many


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(1, [100, 200, 300, 330]), (3, [100, 200, 300, 310, 320, 330]), (5, [100, 200, 290, 300, 310, 320, 330])],
)
def test_the_last_ones_and_every_hundredth_stay(many, keep, kept):
    many.prune(keep, 330)
    assert many.updates() == kept


def test_fewer_than_are_kept_all_stay(many):
    many.prune(100, 330)
    assert many.updates() == list(range(10, 331, 10))


def test_those_after_the_newest_good_one_do_not_count_and_stay(many):
    many.prune(2, 220)
    assert many.updates() == [100, 200, 210, 220, *range(230, 331, 10)]


def test_only_checkpoints_are_cleared(many, tmp_path):
    (tmp_path / ".update-00000040.npz.12.tmp").touch()
    strangers = {"update-mine.npz", "notes.txt", "update-00000040.npz.bak", ".update-mine.tmp"}
    for name in strangers:
        (tmp_path / name).touch()
    many.clear()
    assert {path.name for path in tmp_path.iterdir()} == strangers
