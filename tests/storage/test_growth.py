"""Bounded memory and time at any length; and what is found by bisection is what reading all of it finds."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ROOT

from bitexact.storage import lines
from bitexact.storage.ledger import METRICS, ROLLOUTS, Entry, Ledger

LONG_RUNS = Path(__file__).with_name("long_runs.py")
UPDATES = 100_000
MOST_S, MOST_MB = 2.0, 150.0
ALTERED = 40


def measured(action: str, *arguments: Path) -> tuple[float, float]:
    """Seconds, without those of the start, and the peak of memory in MB, of a process that does it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, str(LONG_RUNS), action, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seconds, megabytes = map(float, done.stdout.split()[-2:])
    print(f"{action}: {seconds:.2f} s, {megabytes:.0f} MB")
    return seconds, megabytes


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """100,000 updates of ten rollouts: 50 MB of metrics, 390 MB of rollouts."""
    run = tmp_path_factory.mktemp("long") / "run"
    script = f"import sys; from pathlib import Path; from long_runs import make; make(Path(sys.argv[1]), {UPDATES})"
    paths = [str(ROOT), str(ROOT / "tests"), str(LONG_RUNS.parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    subprocess.run([sys.executable, "-c", script, str(run)], env=environment, check=True, timeout=300)
    yield run
    (run / ROLLOUTS).unlink()  # pytest keeps the folders of its last runs


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("action", ["resume", "replay"])
def test_a_run_of_100_000_updates_is_gone_on_with_and_replayed_as_fast_as_a_short_one(long_run, action):
    seconds, megabytes = min(measured(action, long_run) for _ in range(3))  # beside other work on this machine
    assert seconds < MOST_S
    assert megabytes < MOST_MB


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_comparing_reporting_and_checking_read_all_of_it_in_bounded_memory(long_run, tmp_path):
    for action, more in (("compare", [long_run]), ("page", [tmp_path / "page.html"]), ("check", [])):
        _, megabytes = measured(action, long_run, *more)
        assert megabytes < MOST_MB


# ---- found by bisection -----------------------------------------------------------------------------------------


def write_ledger(directory: Path, updates: int, batch: int) -> None:
    metrics = ({"update": u, "rollouts": batch, "weights_digest": f"{u:064x}"} for u in range(1, updates + 1))
    (directory / METRICS).write_text("".join(json.dumps(line) + "\n" for line in metrics))
    rollouts = (
        {"update": u, "index": index, "reward": u % 7, "digest": f"{u}-{index}"}
        for u in range(1, updates + 1)
        for index in range(batch)
    )
    (directory / ROLLOUTS).write_text("".join(json.dumps(line) + "\n" for line in rollouts))


def altered(data: bytes, chance: random.Random) -> bytes:
    """One line gone wrong in one of the ways of test_ledger, or lines taken away, or a block of zeros."""
    text = data.splitlines(keepends=True)
    at = chance.randrange(len(text))
    match chance.randrange(6):
        case 0:
            text[at] = b"\xff" + text[at]
        case 1:
            text[at] = json.dumps(json.loads(text[at]) | {"update": chance.randrange(-5, 10**6)}).encode() + b"\n"
        case 2:
            text[at] = text[at].replace(b"\n", b" ")
        case 3:
            del text[at : at + chance.randrange(1, 30)]
        case 4:
            text[at : at + 20] = [b"\0" * sum(map(len, text[at : at + 20]))]
        case 5:
            text[-1] = text[-1][: chance.randrange(len(text[-1]))]
    return b"".join(text)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bisection of a short ledger goes as deep as that of a long one."""
    monkeypatch.setattr(lines, "_TAIL", 2000)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(ALTERED))
def test_an_entry_found_is_the_one_that_reading_all_finds(tmp_path, seed):
    chance = random.Random(seed)
    write_ledger(tmp_path, updates=400, batch=3)
    for name in chance.choice([[], [METRICS], [ROLLOUTS], [METRICS, ROLLOUTS]]):
        (tmp_path / name).write_bytes(altered((tmp_path / name).read_bytes(), chance))
    ledger, everything = Ledger(tmp_path), {entry.number: entry for entry in Ledger(tmp_path).entries()}
    committed = [update for update, entry in everything.items() if entry.metrics]
    assert ledger.last_update == committed[-1]
    for update in range(chance.randrange(1, 8), max(everything) + 2, 7):
        assert ledger.entry(update) == everything.get(update, Entry({}, {})), f"update {update}"


@pytest.mark.usefixtures("small_blocks")
def test_a_damaged_line_in_the_middle_is_named_by_its_number(tmp_path):
    write_ledger(tmp_path, updates=400, batch=1)
    for name in (METRICS, ROLLOUTS):
        text = (tmp_path / name).read_bytes().splitlines(keepends=True)
        text[249] = b"?\n"
        (tmp_path / name).write_bytes(b"".join(text))
    ledger = Ledger(tmp_path)
    assert ledger.damage == []
    assert ledger.entry(250) == Entry({}, {})
    assert ledger.damage == [f"{tmp_path / name} line 250 is damaged and is not used" for name in (METRICS, ROLLOUTS)]


@pytest.mark.usefixtures("small_blocks")
def test_rewards_go_back_over_as_many_updates_as_it_takes(tmp_path):
    write_ledger(tmp_path, updates=400, batch=3)
    rewards = [update % 7 for update in range(1, 401) for _ in range(3)]
    for update in (1, 2, 33, 34, 200, 400):
        for count in (1, 3, 100):
            assert Ledger(tmp_path).last_rewards(update, count) == rewards[: 3 * update][-count:]


def test_a_line_without_an_end_is_passed_over_in_bounded_memory(tmp_path):
    write_ledger(tmp_path, updates=3, batch=1)
    whole = (tmp_path / METRICS).read_bytes().splitlines(keepends=True)
    (tmp_path / METRICS).write_bytes(b"".join([whole[0], b" " * 5_000_000 + b"\n", *whole[1:], b"[" * 5_000_000]))
    ledger = Ledger(tmp_path)
    assert ledger.last_update == 3
    assert [entry.number for entry in ledger.entries() if entry.metrics] == [1, 2, 3]
    assert ledger.damage == [f"{tmp_path / METRICS} line 2 is damaged and is not used"]
    told: list[str] = []
    ledger.cut_torn_lines(told.append)
    assert told == [f"{tmp_path / METRICS} ended in the middle of a line: 5000000 bytes cut off"]
    assert (tmp_path / METRICS).read_bytes().endswith(whole[2])
