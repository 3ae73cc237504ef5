"""The ledger against the lines of an undisturbed run, after its files were torn, damaged, cut short and altered."""

import contextlib
import dataclasses
import itertools
import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_runs import Diary, go_on, small_settings, train, without_clock, without_waiting, written

from bitexact.cli.exits import PropertyFailed
from bitexact.storage.ledger import EVENTS, METRICS, ROLLOUTS, Ledger
from training import recorder
from training.settings import Settings

BATCH = 3
FLIPS = 75


@pytest.fixture(scope="module", autouse=True)
def quickly() -> Iterator[None]:
    with without_waiting():
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A run of six updates, with all its checkpoints."""
    settings = small_settings(tmp_path_factory.mktemp("undisturbed") / "run", keep_checkpoints=9)
    train(settings)
    return settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The same run, four updates of it, with checkpoints of updates 2 and 4."""
    settings = small_settings(tmp_path / "run", keep_checkpoints=9)
    train(dataclasses.replace(settings, updates=4))
    return settings


def ends_as(undisturbed: Settings, settings: Settings) -> list[str]:
    """Assert that the run goes on to the undisturbed end and ledger; what it said on the way."""
    diary = Diary()
    assert go_on(settings, diary).digest() == last_digest(undisturbed)
    assert written(settings.directory) == written(undisturbed.directory)
    return diary.notes


def updates_in(directory: Path) -> list[int]:
    """The updates that the ledger has a sound line of."""
    return [entry.number for entry in Ledger(directory).entries() if entry.metrics]


def played_in(directory: Path) -> list[int]:
    """The updates that it has rollouts of."""
    return [entry.number for entry in Ledger(directory).entries() if entry.rollouts]


def last_digest(settings: Settings) -> str:
    return written(settings.directory)[METRICS][-1]["weights_digest"]


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def remove_checkpoints(settings: Settings, *updates: int) -> None:
    for update in updates:
        (settings.directory / "checkpoints" / f"update-{update:08d}.npz").unlink()


# ---- written and read -------------------------------------------------------------------------------------------


def test_what_was_committed_is_read_again(undisturbed):
    ledger, text = Ledger(undisturbed.directory), written(undisturbed.directory)
    assert ledger.last_update == 6
    assert ledger.damage == []
    assert [without_clock(entry.metrics) for entry in ledger.entries()] == text[METRICS]
    assert [line for entry in ledger.entries() for line in entry.rollouts.values()] == text[ROLLOUTS]
    assert [ledger.digest(line["update"]) for line in text[METRICS]] == [
        line["weights_digest"] for line in text[METRICS]
    ]


def test_every_update_and_each_of_its_rollouts_has_one_line_in_order(undisturbed):
    text = written(undisturbed.directory)
    assert [line["update"] for line in text[METRICS]] == [1, 2, 3, 4, 5, 6]
    names = [(line["update"], line["index"]) for line in text[ROLLOUTS]]
    assert names == list(itertools.product(range(1, 7), range(BATCH)))


def test_a_directory_without_a_ledger_has_an_empty_one(tmp_path):
    ledger = Ledger(tmp_path)
    assert (ledger.last_update, list(ledger.entries()), ledger.damage) == (0, [], [])
    assert ledger.digest(1) is None
    assert ledger.last_rewards(0, 100) == []


def test_an_entry_is_found_by_its_update_and_all_after_it(undisturbed):
    ledger, text = Ledger(undisturbed.directory), written(undisturbed.directory)
    for update in range(-1, 9):
        entry = ledger.entry(update)
        assert [without_clock(entry.metrics)] == ([line for line in text[METRICS] if line["update"] == update] or [{}])
        assert list(entry.rollouts.values()) == [line for line in text[ROLLOUTS] if line["update"] == update]
        assert [entry.number for entry in ledger.entries(update)] == list(range(max(update, 1), 7))


# ---- torn -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [METRICS, ROLLOUTS])
@pytest.mark.parametrize("length", [1, 2, 40, -2, -1])
def test_a_torn_last_line_is_cut_off_and_told_of(settings, undisturbed, name, length):
    path = settings.directory / name
    torn = lines(undisturbed.directory / name)[4 if name == METRICS else 4 * BATCH][:length]
    path.write_bytes(path.read_bytes() + torn)
    notes = ends_as(undisturbed, settings)
    assert f"{path} ended in the middle of a line: {len(torn)} bytes cut off" in notes


def test_a_file_that_is_one_torn_line_becomes_an_empty_one(settings, undisturbed):
    for name in (METRICS, ROLLOUTS):
        (settings.directory / name).write_bytes(b'{"upda')
    remove_checkpoints(settings, 2, 4)
    ends_as(undisturbed, settings)


def test_reading_changes_nothing(settings):
    for name in (METRICS, ROLLOUTS):
        path = settings.directory / name
        first, second, *others = lines(path)
        path.write_bytes(b"".join([first, b"}" + second, *others, b'{"update": 5']))
        before = path.read_bytes()
        assert len(Ledger(settings.directory).damage) >= 1
        assert path.read_bytes() == before


@pytest.mark.parametrize("kept", range(BATCH + 1))
@pytest.mark.parametrize("torn", [0, 30])
def test_rollouts_recorded_of_an_update_that_was_not_are_completed_each_once(settings, undisturbed, kept, torn):
    of_the_next = lines(undisturbed.directory / ROLLOUTS)[4 * BATCH : 5 * BATCH]
    path = settings.directory / ROLLOUTS
    path.write_bytes(path.read_bytes() + b"".join(of_the_next[:kept]) + (of_the_next[-1][:torn]))
    ends_as(undisturbed, settings)


# ---- damaged ----------------------------------------------------------------------------------------------------

DAMAGES = {
    "not JSON": lambda line: b"\xff" + line,
    "nothing": lambda line: b"\n",
    "zeros": lambda line: b"\0" * len(line) + b"\n",
    "another kind of value": lambda line: b"[1, 2]\n",
    "a number": lambda line: b"7\n",
    "without its update": lambda line: line.replace(b'"update"', b'"updaze"'),
    "without its digest": lambda line: line.replace(b'digest": ', b'tigest": '),
    "of a later update": lambda line: changed(line, update=9),
    "of an earlier update": lambda line: changed(line, update=-1),
    "of no update": lambda line: changed(line, update="2"),
    "nested too deep": lambda line: b"[" * 100_000 + b"\n",
}


def changed(line: bytes, **values) -> bytes:
    return json.dumps({**json.loads(line), **values}).encode() + b"\n"


@pytest.mark.parametrize("name", [METRICS, ROLLOUTS])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("number", [1, 2, -1])
def test_a_damaged_line_is_named_and_stays_and_the_run_goes_on(settings, undisturbed, name, damage, number):
    path = settings.directory / name
    text = lines(path)
    position = len(text) - 1 if number == -1 else number
    text[position] = damage(text[position])
    path.write_bytes(b"".join(text))
    diary = Diary()
    assert go_on(settings, diary).digest() == last_digest(undisturbed)
    assert f"{path} line {position + 1} is damaged and is not used" in diary.notes
    assert lines(path)[: len(text)] == text
    after = Ledger(settings.directory)
    assert len(list(after.entries())) >= 5
    assert len(after.damage) == 1
    assert [after.digest(update) for update in (5, 6)] == [Ledger(undisturbed.directory).digest(u) for u in (5, 6)]


def test_a_rollouts_line_without_its_reward_is_damaged(settings, undisturbed):
    path = settings.directory / ROLLOUTS
    path.write_bytes(path.read_bytes().replace(b'"reward"', b'"rexard"', 1))
    diary = Diary()
    assert go_on(settings, diary).digest() == last_digest(undisturbed)
    assert f"{path} line 1 is damaged and is not used" in diary.notes


def test_damage_in_an_update_that_is_done_again_is_not_written_over(settings, undisturbed):
    remove_checkpoints(settings, 2, 4)
    path = settings.directory / METRICS
    text = lines(path)
    text[1] = b"?\n"
    path.write_bytes(b"".join(text))
    assert go_on(settings).digest() == last_digest(undisturbed)
    assert lines(path)[:4] == text
    assert updates_in(settings.directory) == [1, 3, 4, 5, 6]


@pytest.mark.parametrize("count", range(1, 6))
def test_one_altered_update_number_hides_that_line_and_no_other(tmp_path, count):
    for position, update in itertools.product(range(count), range(-1, count + 4)):
        updates = list(range(1, count + 1))
        updates[position] = update
        (tmp_path / METRICS).write_text("".join(f'{{"update": {u}, "weights_digest": "{u}"}}\n' for u in updates))
        believed = set(range(1, count + 1)) - ({position + 1} if update != position + 1 else set())
        assert set(updates_in(tmp_path)) == believed, f"{updates}"


@pytest.mark.parametrize("count", range(2, 6))
def test_two_lines_run_together_hide_themselves_and_no_other(tmp_path, count):
    for position in range(count - 1):
        text = [f'{{"update": {u}, "weights_digest": "{u}"}}\n' for u in range(1, count + 1)]
        text[position] = text[position].replace("\n", "\v")
        (tmp_path / METRICS).write_text("".join(text))
        ledger = Ledger(tmp_path)
        assert set(updates_in(tmp_path)) == set(range(1, count + 1)) - {position + 1, position + 2}
        assert ledger.damage == [f"{tmp_path / METRICS} line {position + 1} is damaged and is not used"]


def test_a_time_that_is_too_large_for_a_number_with_a_fraction_is_damage(tmp_path):
    times = [10**300, 10**309, -(10**309), 10**400, 2.5]
    lines_of = [json.dumps({"wall_time_s": time, "update": 1, "event": "said"}) for time in times]
    (tmp_path / EVENTS).write_text("\n".join(lines_of) + "\n")
    ledger = Ledger(tmp_path)
    assert [line["wall_time_s"] for line in ledger.lines(EVENTS)] == [10**300, 2.5]
    assert len(ledger.damage) == 3


def test_lines_taken_away_do_not_hide_those_after_them(settings, undisturbed):
    for name, gone in ((METRICS, 2), (ROLLOUTS, 2 * BATCH)):
        path = settings.directory / name
        path.write_bytes(b"".join(lines(path)[gone:]))
    assert updates_in(settings.directory) == played_in(settings.directory) == [3, 4]
    assert go_on(settings).digest() == last_digest(undisturbed)
    assert updates_in(settings.directory) == [3, 4, 5, 6]


def test_any_flipped_bit_stops_the_run_loudly_or_changes_nothing_but_its_line(settings, undisturbed):
    """The checkpoint is two updates behind: some flips are in lines that are done again, some in others."""
    remove_checkpoints(settings, 4)
    chance, stopped = random.Random(20240229), 0
    for number in range(FLIPS):
        run = dataclasses.replace(settings, run_dir=settings.directory.with_name(f"flipped {number}"))
        shutil.copytree(settings.directory, run.directory)
        flip_a_bit(run.directory / chance.choice([METRICS, ROLLOUTS]), chance)
        try:
            assert go_on(run).digest() == last_digest(undisturbed)
        except PropertyFailed:
            stopped += 1
            continue
        missing = digests_in(undisturbed.directory) - digests_in(run.directory)
        assert len(missing) <= 2  # two where the end of a line was what was flipped
        assert {update for _, update, _, _ in missing} <= {1, 2, 3, 4}
        assert updates_in(run.directory)[-2:] == [5, 6]
    print(f"{FLIPS} flipped bits in the ledger: {stopped} stopped the run, {FLIPS - stopped} did no harm")
    assert 0 < stopped < FLIPS / 2


def flip_a_bit(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def digests_in(directory: Path) -> set[tuple[str, int, int | None, str]]:
    """Every digest in the ledger's files, and what it is of."""
    found = set()
    for name, key in ((METRICS, "weights_digest"), (ROLLOUTS, "digest")):
        for text in lines(directory / name):
            with contextlib.suppress(ValueError, KeyError):
                line = json.loads(text)
                found.add((name, line["update"], line.get("index"), line[key]))
    return found


# ---- done again -------------------------------------------------------------------------------------------------


def test_updates_done_again_are_compared_and_not_appended(settings):
    remove_checkpoints(settings, 4)
    before = {name: (settings.directory / name).read_bytes() for name in (METRICS, ROLLOUTS)}
    diary = Diary()
    go_on(dataclasses.replace(settings, updates=4), diary)
    assert diary.computed == diary.committed == [3, 4]
    assert {name: (settings.directory / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("update", [3, 4])
def test_an_update_done_again_that_differs_from_its_line_stops_the_run_before_anything_is_written(settings, update):
    remove_checkpoints(settings, 4)
    path = settings.directory / METRICS
    text = lines(path)
    text[update - 1] = changed(text[update - 1], weights_digest="0" * 64)
    path.write_bytes(b"".join(text))
    diary = Diary()
    with pytest.raises(PropertyFailed, match=rf"done again gives its recorded digest \(update {update}\)"):
        go_on(settings, diary)
    assert lines(path) == text
    assert diary.committed == list(range(3, update))


@pytest.mark.parametrize("index", range(BATCH))
def test_a_rollout_done_again_that_differs_from_its_line_stops_the_run(settings, index):
    remove_checkpoints(settings, 4)
    path = settings.directory / ROLLOUTS
    text = lines(path)
    text[2 * BATCH + index] = changed(text[2 * BATCH + index], digest="0" * 32)
    path.write_bytes(b"".join(text))
    with pytest.raises(PropertyFailed, match=rf"rollout done twice .* \(update 3, index {index}\)"):
        go_on(settings)


@pytest.mark.parametrize("recorded", range(4))
def test_a_checkpoint_that_the_ledger_ends_before_is_not_used_and_this_is_said(settings, undisturbed, recorded):
    for name, count in ((METRICS, recorded), (ROLLOUTS, recorded * BATCH)):
        path = settings.directory / name
        path.write_bytes(b"".join(lines(path)[:count]))
    diary = Diary()
    assert go_on(settings, diary).digest() == last_digest(undisturbed)
    assert diary.began_after == recorded // 2 * 2
    for update in (2, 4):
        path = settings.directory / "checkpoints" / f"update-{update:08d}.npz"
        sentence = f"{path} is not used: the ledger ends at update {recorded}"
        assert (sentence in diary.notes) == (update > recorded)
    assert written(settings.directory) == written(undisturbed.directory)


# ---- what goes on from before -----------------------------------------------------------------------------------


def hundred(directory: Path, interrupted: bool) -> list[float]:
    """The means over the last 100 rollouts that a run of 6 updates of 30 rollouts records."""
    settings = small_settings(directory, batch_size=30)
    if interrupted:
        for updates in (1, 3, 4):
            go_on(dataclasses.replace(settings, updates=updates))
    go_on(settings)
    text = written(directory)
    rewards = [line["reward"] for line in text[ROLLOUTS]]
    windows = [rewards[max(0, end - 100) : end] for end in range(30, 181, 30)]
    means = [line["reward_mean_100"] for line in text[METRICS]]
    assert means == [math.fsum(window) / len(window) for window in windows]
    return means


def test_the_last_100_rewards_are_known_again_after_a_resume(tmp_path):
    assert hundred(tmp_path / "a", interrupted=True) == hundred(tmp_path / "b", interrupted=False)


def test_the_last_rewards_end_with_the_update_asked_for(undisturbed):
    ledger = Ledger(undisturbed.directory)
    rewards = [line["reward"] for line in written(undisturbed.directory)[ROLLOUTS]]
    for update, count in itertools.product(range(1, 7), (1, 2, 5, 100)):
        assert ledger.last_rewards(update, count) == rewards[: update * BATCH][-count:]


def test_a_run_until_a_reward_stops_at_the_same_update_when_it_is_resumed(tmp_path):
    endless = small_settings(tmp_path / "endless", batch_size=30, updates=12)
    train(endless)
    means = [line["reward_mean_100"] for line in written(endless.directory)[METRICS]]
    wanted = max(means[3:])
    settings = dataclasses.replace(endless, run_dir=tmp_path / "run", updates=None, until_reward=wanted)
    reached = 4 + means[3:].index(wanted)
    for updates in range(1, 4):
        assert go_on(dataclasses.replace(settings, updates=updates)).update == updates
    assert go_on(settings).update == reached
    assert go_on(settings).update == reached


def test_wall_time_adds_up_over_resumes_and_the_time_between_them_does_not_count(settings, monkeypatch):
    seconds = itertools.count()
    train(dataclasses.replace(settings, overwrite=True, updates=1))
    monkeypatch.setattr(recorder.time, "monotonic", lambda: float(next(seconds)))
    path = settings.directory / METRICS
    first = json.loads(lines(path)[0])["wall_time_s"]
    for updates in (3, 4, 6):
        go_on(dataclasses.replace(settings, updates=updates))
        next(itertools.islice(seconds, 1000, None))
    # A lap is one second of this clock: it is looked at once a commit, and once more when the lap begins.
    assert [json.loads(line)["wall_time_s"] - first for line in lines(path)] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert [json.loads(line)["steps_per_s"] for line in lines(path)][1:] == [90.0] * 5
