"""Crashes and refusing disks at every call that changes the disk: the run goes on, and ends as if nothing had been.

The calls are those of a first start, of commits, checkpoints and prunes, of a resume and of an overwrite; each is made
to fail in turn. How many there were is printed: `pytest -s tests/storage/test_crashes.py`.
"""

import errno
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from small_runs import (
    CHANGING,
    TAKING_ROOM,
    WRITES,
    Call,
    Diary,
    Handler,
    Kill,
    Killed,
    Line,
    PowerCut,
    Refuse,
    disk,
    full_from,
    go_on,
    small_settings,
    train,
    without_clock,
    without_waiting,
    written,
)

from bitexact.cli.exits import DiskRefused
from bitexact.determinism.arrays import Arrays
from bitexact.storage import checkpoints
from bitexact.storage.state import State
from pong.game import Pong
from pong.play import RolloutId
from training import initial_state
from training.rollout_record import RolloutRecord
from training.rollout_task import task_of
from training.settings import Settings

Ending = tuple[str, dict[str, list[Line]]]  # digest, ledger


@dataclass
class Scenario:
    """A command that will be disturbed, and what had been promised before it."""

    settings: Settings
    committed: tuple[int, ...] = ()
    checkpointed: int = 0


def first_start(directory: Path) -> Scenario:
    return Scenario(small_settings(directory))


def resume(directory: Path) -> Scenario:
    """With torn lines to cut, an update to do again, and one whose rollouts are half recorded."""
    settings = small_settings(directory)
    train(replace(settings, updates=4, keep_checkpoints=2))
    for name, lines in (("metrics.jsonl", 3), ("rollouts.jsonl", 10)):
        text = (directory / name).read_bytes().splitlines(keepends=True)
        (directory / name).write_bytes(b"".join(text[:lines]) + text[lines][:50])
    (directory / "checkpoints" / "update-00000004.npz").unlink()
    return Scenario(replace(settings, resume=True), committed=(1, 2, 3), checkpointed=2)


def overwrite(directory: Path) -> Scenario:
    """Of a run with another seed, that was given weights to begin with."""
    settings = small_settings(directory)
    train(given_weights(replace(settings, seed=99)))
    return Scenario(replace(settings, overwrite=True))


def given_weights(settings: Settings) -> Settings:
    """The same, beginning with weights that its own do not lead to."""
    file = settings.directory.with_name("given.npz")
    weights = initial_state.from_seed(replace(settings, seed=7)).weights
    checkpoints.write(file, State(3, weights, {}))
    return replace(settings, init_weights=file)


SCENARIOS = pytest.mark.parametrize("scenario", [first_start, resume, pytest.param(overwrite, marks=pytest.mark.slow)])
Begin = Callable[[Path], Scenario]


@pytest.fixture(scope="module", autouse=True)
def quickly() -> Iterator[None]:
    with without_waiting():
        yield


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ending:
    settings = small_settings(tmp_path_factory.mktemp("undisturbed") / "run")
    return train(settings).digest(), written(settings.directory)


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    """One empty folder after another, without end."""
    return (folder for folder in map(tmp_path.joinpath, map(str, range(10**6))) if not folder.mkdir())


def calls_of(scenario: Begin, folder: Path) -> list[Call]:
    """The calls that the scenario makes if nothing disturbs it."""
    watch, begun = Kill(), scenario(folder / "run")
    with disk(watch):
        train(begun.settings)
    return watch.calls


def ends_undisturbed(begun: Scenario, life: Diary, undisturbed: Ending) -> None:
    """Assert that what the disturbed life has promised is kept, and that the run goes on to its undisturbed end."""
    digest, ledger = undisturbed
    directory = begun.settings.directory
    committed = [*begun.committed, *life.committed]
    kept = whole_lines(directory / "metrics.jsonl")
    assert [line for line in ledger["metrics.jsonl"] if line["update"] in committed and line not in kept] == []
    next_life = Diary()
    assert go_on(begun.settings, next_life).digest() == digest
    assert written(directory) == ledger
    events = directory / "events.jsonl"
    assert not events.exists() or events.read_bytes().endswith(b"}\n")
    assert not whole_lines(events) or whole_lines(events)[-1]["event"].startswith("resumed after update")
    last_checkpoint = max([begun.checkpointed, *life.checkpointed])
    assert last_checkpoint <= next_life.began_after <= max([0, *committed]) + 1
    assert next_life.computed == list(range(next_life.began_after + 1, begun.settings.updates + 1))
    checkpoints = {path.name for path in (directory / "checkpoints").iterdir()}
    the_one_before = set() if next_life.computed else {"update-00000004.npz"}  # the first life's last prune was cut off
    assert checkpoints - the_one_before == {"update-00000006.npz"}
    assert [path for path in directory.iterdir() if path.suffix == ".tmp"] == []


def whole_lines(path: Path) -> list[Line]:
    text = path.read_text() if path.exists() else ""
    return [without_clock(json.loads(line)) for line in text.split("\n")[:-1]]


def disturb(begun: Scenario, handler: Handler, expected: type[BaseException]) -> tuple[Diary, BaseException]:
    """One life of the run, ended by the disk."""
    life = Diary()
    with disk(handler), pytest.raises(expected) as ended:
        train(begun.settings, life)
    return life, ended.value


# ---- killed -----------------------------------------------------------------------------------------------------


@SCENARIOS
def test_a_run_killed_before_any_call_goes_on_to_the_same_end(scenario, folders, undisturbed):
    calls = calls_of(scenario, next(folders))
    for at, call in enumerate(calls, 1):
        print(f"killed before call {at}, {call}")
        begun = scenario(next(folders) / "run")
        life, _ = disturb(begun, Kill(at), Killed)
        ends_undisturbed(begun, life, undisturbed)
    print(f"{scenario.__name__}: {len(calls)} kills survived")


@SCENARIOS
def test_a_run_killed_in_the_middle_of_any_write_goes_on_to_the_same_end(scenario, folders, undisturbed):
    writes = [at for at, call in enumerate(calls_of(scenario, next(folders)), 1) if call.name in WRITES]
    for at in writes:
        print(f"killed in call {at}, a write")
        begun = scenario(next(folders) / "run")
        life, _ = disturb(begun, Kill(at, half=True), Killed)
        ends_undisturbed(begun, life, undisturbed)
    print(f"{scenario.__name__}: {len(writes)} kills in the middle of a write survived")


@SCENARIOS
def test_a_run_goes_on_to_the_same_end_after_a_power_cut_before_any_call(scenario, folders, undisturbed):
    calls = calls_of(scenario, next(folders))
    for at, call in enumerate(calls, 1):
        print(f"power cut before call {at}, {call}")
        folder = next(folders)
        begun = scenario(folder / "run")
        power = PowerCut(folder, at)
        life, _ = disturb(begun, power, Killed)
        power.cut()
        ends_undisturbed(begun, life, undisturbed)
    print(f"{scenario.__name__}: {len(calls)} power cuts survived")


def test_a_run_whose_overwriting_is_killed_before_its_last_file_is_gone_can_still_be_gone_on_with(folders):
    undisturbed = small_settings(next(folders) / "run", seed=99)
    expected = train(given_weights(undisturbed)).digest()
    calls = calls_of(overwrite, next(folders))
    last = max(at for at, (name, path) in enumerate(calls, 1) if (name, path.name) == ("unlink", "config.json"))
    for at in range(1, last + 1):
        print(f"killed before call {at}, {calls[at - 1]}")
        begun = overwrite(next(folders) / "run")
        disturb(begun, Kill(at), Killed)
        old = replace(begun.settings, seed=99, overwrite=False, resume=True)
        assert train(old).digest() == expected
        assert written(old.directory) == written(undisturbed.directory)
    assert {path.name for name, path in calls[:last] if name == "unlink"} >= {"metrics.jsonl", "rollouts.jsonl"}


@pytest.mark.parametrize("seed", range(10))
def test_a_run_killed_again_and_again_ends_the_same(seed, tmp_path, undisturbed):
    chance = random.Random(seed)
    begun = Scenario(small_settings(tmp_path / "run"))
    lives, checkpointed = 0, 0
    while True:
        life = Diary()
        try:
            with disk(Kill(at=chance.randrange(1, 50), half=chance.random() < 0.5)):
                state = go_on(begun.settings, life)
            break
        except Killed:
            lives += 1
            assert life.began_after is None or life.began_after >= checkpointed
            checkpointed = max([checkpointed, *life.checkpointed])
    assert lives > 0
    assert (state.digest(), written(tmp_path / "run")) == undisturbed


LONG_RUN = """
import sys, time
from pathlib import Path
from small_runs import go_on, small_settings

def slowly(indices):
    time.sleep(0.002)
    return indices

go_on(small_settings(Path(sys.argv[1]), updates=500, checkpoint_every=7), arrival=slowly)
"""


def test_a_process_killed_by_sigkill_leaves_a_run_that_goes_on_to_the_same_end(tmp_path):
    undisturbed = small_settings(tmp_path / "undisturbed", updates=120)
    expected = train(undisturbed).digest()
    settings = replace(undisturbed, run_dir=tmp_path / "run")
    tests = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)])}
    for reached in (1, 40, 80):
        arguments = [sys.executable, "-c", LONG_RUN, str(settings.directory)]
        with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as process:
            wait_for_lines(settings.directory / "metrics.jsonl", reached)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    assert go_on(settings).digest() == expected
    assert written(settings.directory) == written(undisturbed.directory)


def wait_for_lines(path: Path, count: int) -> None:
    limit = time.monotonic() + 120
    while not path.exists() or path.read_bytes().count(b"\n") < count:
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_a_run_of_real_games_killed_in_a_commit_ends_the_same(tmp_path):
    play = functools.partial(real_rollout, Pong())
    settings = small_settings(tmp_path / "undisturbed", batch_size=2, updates=2)
    expected = train(settings, rollout=play).digest()
    killed = replace(settings, run_dir=tmp_path / "killed")
    calls = calls_of(first_start, tmp_path / "watched")
    lines = [at for at, (name, path) in enumerate(calls, 1) if name == "write" and path.name == "metrics.jsonl"]
    with disk(Kill(lines[1], half=True)), pytest.raises(Killed):
        train(killed, rollout=play, arrival=reversed)
    assert go_on(killed, rollout=play, arrival=reversed).digest() == expected
    assert written(killed.directory) == written(settings.directory)


def real_rollout(
    game: Pong, settings: Settings, weights: Arrays, update: int, index: int
) -> tuple[Arrays, RolloutRecord]:
    return task_of(settings).run(game, weights, RolloutId(settings.seed, update, index))


# ---- refused ----------------------------------------------------------------------------------------------------


@SCENARIOS
def test_a_disk_full_from_any_call_on_is_told_of_and_the_run_goes_on_to_the_same_end(scenario, folders, undisturbed):
    points = [at for at, call in enumerate(calls_of(scenario, next(folders)), 1) if call.name in TAKING_ROOM]
    for at in points:
        print(f"full from call {at} on")
        begun = scenario(next(folders) / "run")
        is_refused_and_goes_on(begun, full_from(at), undisturbed)
    print(f"{scenario.__name__}: {len(points)} full disks survived")


@SCENARIOS
def test_a_disk_full_in_the_middle_of_any_write_takes_nothing_of_it(scenario, folders, undisturbed):
    writes = [at for at, call in enumerate(calls_of(scenario, next(folders)), 1) if call.name in WRITES]
    for at in writes:
        print(f"full in call {at}, a write")
        begun = scenario(next(folders) / "run")
        is_refused_and_goes_on(begun, full_from(at, short=True), undisturbed)
        for name in ("metrics.jsonl", "rollouts.jsonl"):
            assert (begun.settings.directory / name).read_bytes().endswith(b"\n")
    print(f"{scenario.__name__}: {len(writes)} disks full in the middle of a write survived")


@SCENARIOS
def test_a_disk_that_fails_at_any_other_call_is_told_of_and_the_run_goes_on_to_the_same_end(
    scenario, folders, undisturbed
):
    calls = calls_of(scenario, next(folders))
    points = [at for at, call in enumerate(calls, 1) if call.name not in TAKING_ROOM]
    for at in points:
        print(f"input/output errors from call {at} on, {calls[at - 1]}")
        begun = scenario(next(folders) / "run")
        is_refused_and_goes_on(begun, Refuse(errno.EIO, CHANGING, at), undisturbed)
    print(f"{scenario.__name__}: {len(points)} failing disks survived")


def is_refused_and_goes_on(begun: Scenario, refuse: Refuse, undisturbed: Ending) -> None:
    life, ended = disturb(begun, refuse, DiskRefused)
    assert names(str(ended), refuse.refused)
    ends_undisturbed(begun, life, undisturbed)


def names(sentence: str, path: Path) -> bool:
    """Whether a sentence names a file, or the one that a temporary file was to become."""
    if path.suffix == ".tmp":
        path = path.with_name(path.name[1:].rsplit(".", 2)[0])
    return sentence.startswith(str(path)) and sentence.endswith(".")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 200 kB of room."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(folder)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system is not permitted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_really_full_disk_is_told_of_and_with_more_room_the_run_goes_on_to_the_same_end(small_disk, tmp_path):
    settings = small_settings(tmp_path / "undisturbed", updates=60, keep_checkpoints=2)
    expected = train(settings).digest()
    full = replace(settings, run_dir=small_disk / "run")
    life = Diary()
    with pytest.raises(DiskRefused, match=rf"^{full.directory}/\S+ cannot be written \(No space left on device\)"):
        train(full, life)
    assert life.checkpointed
    assert [line["update"] for line in written(full.directory)["metrics.jsonl"]] == life.committed
    subprocess.run(["mount", "-o", "remount,size=5m", str(small_disk)], check=True)
    assert go_on(full).digest() == expected
    assert written(full.directory) == written(settings.directory)
