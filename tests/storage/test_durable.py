"""Writes against the calls they make: in which order, and what is left on the disk when one of them is refused."""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import CHANGING, Kill, Killed, PowerCut, Refuse, disk, full_from

from bitexact.cli.exits import DiskRefused
from bitexact.storage import durable


def sentences_of_refusals(write: Callable[[], None]) -> Iterator[str]:
    """What is said when the first call is refused, and all after it; the second; and so on."""
    for at in itertools.count(1):
        refuse = Refuse(errno.EIO, CHANGING, at)
        try:
            with disk(refuse):
                write()
        except DiskRefused as refused:
            yield str(refused)
        if refuse.refused is None:
            return


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ---- write_atomically -------------------------------------------------------------------------------------------


def test_a_file_is_written_and_replaced(tmp_path):
    for data in (b"first", b"", b"second" * 1000):
        durable.write_atomically(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
        assert files(tmp_path) == {"file"}


def test_a_file_is_synchronised_before_it_is_renamed_and_its_folder_after(tmp_path):
    with disk(watch := Kill()):
        durable.write_atomically(tmp_path / "file", b"data")
    (open_, temporary), *others = watch.calls
    assert open_ == "open"
    assert temporary.parent == tmp_path
    expected = [("write", temporary), ("fsync", temporary), ("replace", tmp_path / "file"), ("fsync", tmp_path)]
    assert others == expected


def test_whatever_is_refused_the_old_file_stays_or_the_new_one_is_there_whole(tmp_path):
    path = tmp_path / "file"
    seen = []
    durable.write_atomically(path, b"old")
    for sentence in sentences_of_refusals(lambda: durable.write_atomically(path, b"new")):
        assert sentence == f"{path} cannot be written (Input/output error): make room or mend the disk."
        seen.append(path.read_bytes())
    assert seen == [b"old"] * 4 + [b"new"]  # the new one when only the folder could not be synchronised


@pytest.mark.parametrize("short", [False, True])
def test_a_full_disk_leaves_the_old_file_and_no_temporary_one(tmp_path, short):
    path = tmp_path / "file"
    durable.write_atomically(path, b"old")
    with disk(full_from(2, short)), pytest.raises(DiskRefused, match=r"\(No space left on device\)"):
        durable.write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert files(tmp_path) == {"file"}


def test_a_power_cut_at_any_call_leaves_the_old_file_or_the_new_one(tmp_path):
    seen = []
    for at in range(1, 7):
        folder = tmp_path / str(at)
        folder.mkdir()
        (folder / "file").write_bytes(b"old")
        power = PowerCut(folder, at)
        try:
            with disk(power):
                durable.write_atomically(folder / "file", b"new")
        except Killed:
            pass
        power.cut()
        seen.append((folder / "file").read_bytes())
    assert seen == [b"old"] * 5 + [b"new"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "nowhere" / "file"
    with pytest.raises(DiskRefused, match=f"^{path} cannot be written: {path.parent} was deleted or moved meanwhile"):
        durable.write_atomically(path, b"data")


def test_what_a_killed_writer_left_is_deleted_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    with disk(Kill(at=4)), pytest.raises(Killed):
        durable.write_atomically(path, b"data")
    (left,) = files(tmp_path)
    strangers = {"file", "other.tmp", ".file.tmp", ".other.1.tmp", "file.1.tmp"}
    for name in strangers:
        (tmp_path / name).touch()
    durable.delete_leftovers(tmp_path, "file")
    assert files(tmp_path) == strangers
    assert left not in strangers


# ---- append -----------------------------------------------------------------------------------------------------


def test_lines_are_added_at_the_end(tmp_path):
    for data in (b"one\n", b"two\n", b"three\n"):
        durable.append(tmp_path / "file", data)
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\nthree\n"


def test_appended_bytes_and_a_new_name_last_when_append_returns(tmp_path):
    power = PowerCut(tmp_path)
    with disk(power):
        durable.append(tmp_path / "file", b"one\n")
        durable.append(tmp_path / "file", b"two\n")
    power.cut()
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\n"


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(lambda: full_from(2), id="full"),
        pytest.param(lambda: full_from(2, short=True), id="full in the middle"),
        pytest.param(lambda: Refuse(errno.EIO, ["fsync"]), id="not synchronised"),
    ],
)
def test_a_line_refused_is_not_there_at_all(tmp_path, handler):
    path = tmp_path / "file"
    durable.append(path, b"one\n")
    with disk(handler()), pytest.raises(DiskRefused, match=f"^{path} cannot be written"):
        durable.append(path, b"two\n")
    assert path.read_bytes() == b"one\n"
    durable.append(path, b"three\n")
    assert path.read_bytes() == b"one\nthree\n"


def test_a_disk_that_refuses_everything_is_told_of_although_nothing_can_be_taken_back(tmp_path):
    path = tmp_path / "file"
    durable.append(path, b"one\n")
    sentences = list(sentences_of_refusals(lambda: durable.append(path, b"two\n")))
    assert sentences == [f"{path} cannot be written (Input/output error): make room or mend the disk."] * 3
    assert path.read_bytes().startswith(b"one\n")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=50), max_size=5), st.lists(st.integers(1, 7), min_size=1))
def test_a_disk_that_takes_few_bytes_at_a_time_gets_them_all(tmp_path_factory, lines, portions):
    path = tmp_path_factory.mktemp("few") / "file"
    taken = 0

    def few(name, args, real):
        nonlocal taken
        if name != "write":
            return real(*args)
        taken += 1
        return real(args[0], args[1][: portions[taken % len(portions)]])

    with disk(few):
        for line in lines:
            durable.append(path, line)
        durable.write_atomically(path.with_name("other"), b"".join(lines))
    assert path.with_name("other").read_bytes() == b"".join(lines)
    assert not lines or path.read_bytes() == b"".join(lines)


# ---- the others -------------------------------------------------------------------------------------------------


def test_a_file_is_cut_and_the_cut_lasts(tmp_path):
    path = tmp_path / "file"
    durable.append(path, b"one\ntwo")
    power = PowerCut(tmp_path)
    with disk(power):
        durable.truncate(path, 4)
    power.cut()
    assert path.read_bytes() == b"one\n"


@pytest.mark.parametrize("change", [lambda path: durable.truncate(path, 1), durable.delete])
def test_cutting_and_deleting_are_refused_by_name(tmp_path, change):
    path = tmp_path / "file"
    durable.append(path, b"one\n")
    with disk(Refuse(errno.EROFS, CHANGING, 1)), pytest.raises(DiskRefused, match=f"^{path} .*Read-only file system"):
        change(path)
    assert path.read_bytes() == b"one\n"


def test_deleting_what_is_not_there_is_no_error(tmp_path):
    durable.delete(tmp_path / "file")


def test_a_folder_and_those_above_it_last(tmp_path):
    power = PowerCut(tmp_path)
    with disk(power):
        durable.make_folder(tmp_path / "a" / "b" / "c")
    power.cut()
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_a_folder_left_by_a_process_killed_before_it_lasted_lasts_when_it_is_made_again(tmp_path):
    power = PowerCut(tmp_path)
    with disk(power):
        os.mkdir(tmp_path / "a")  # noqa: PTH102
        durable.make_folder(tmp_path / "a")
    power.cut()
    assert (tmp_path / "a").is_dir()
