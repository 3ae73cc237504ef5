"""What the test commands find: each is shown a run that is in order, and one with the bug that it is there for."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import go_on, small_settings, train

from bitexact.cli.exits import PropertyFailed
from bitexact.storage.ledger import METRICS, irregularities
from bitexact.storage.run_directory import RunDirectory, locked
from workload import checks, copies, disturbance
from workload.copies import copied


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five updates, with a checkpoint of the fourth and of the last."""
    monkeypatch.setattr(checks, "_wait_for_update", lambda run, update, timeout_s: checks.Ledger(run).last_update)
    train(small_settings(tmp_path / "run", updates=5, keep_checkpoints=2))
    return tmp_path / "run"


def goes_on(run: Path, updates: int) -> None:
    go_on(small_settings(run, updates=updates, keep_checkpoints=2))


# ---- the ledger -----------------------------------------------------------------------------------------------------


def test_a_ledger_that_grows_keeps_what_was_seen(run):
    assert checks.check_ledger(run).endswith("up to update 5, and 0 updates seen before are as they were")
    goes_on(run, 7)
    assert checks.check_ledger(run).endswith("up to update 7, and 5 updates seen before are as they were")


def lose_the_last(lines: list[str]) -> list[str]:
    return lines[:-1]


def change_one(lines: list[str]) -> list[str]:
    line = json.loads(lines[2])
    return [*lines[:2], json.dumps(line | {"weights_digest": line["weights_digest"][::-1]}) + "\n", *lines[3:]]


@pytest.mark.parametrize(("bug", "update"), [(lose_the_last, "5"), (change_one, "3")])
def test_what_was_seen_and_is_lost_or_changed_is_found(run, bug, update):
    """Neither leaves a gap: only who remembers can know."""
    checks.check_ledger(run)
    ledger = run / METRICS
    ledger.write_text("".join(bug(ledger.read_text().splitlines(keepends=True))))
    with pytest.raises(PropertyFailed, match="what was committed stays"):
        checks.check_ledger(run)
    assert update in json.loads((run.with_name("run-seen.json")).read_bytes())


# ---- a copy ----------------------------------------------------------------------------------------------------


def test_a_copy_can_be_resumed_and_is_gone_afterwards(run):
    with copied(run) as copy:
        assert checks._resumable(copy) == 5
        assert (copy / METRICS).read_bytes() == (run / METRICS).read_bytes()
    assert not copy.exists()


def test_a_run_that_goes_on_while_it_is_copied_leaves_a_copy_in_order(run, monkeypatch):
    """Between any two files the driver commits, saves and prunes."""
    copyfile, updates = shutil.copyfile, iter(range(6, 99))

    def meanwhile(source, to):
        copyfile(source, to)
        goes_on(run, next(updates))

    monkeypatch.setattr(copies.shutil, "copyfile", meanwhile)
    with copied(run) as copy:
        monkeypatch.undo()
        assert irregularities(copy) == []
        assert checks._resumable(copy) == 5


def test_of_a_run_that_has_hardly_begun_there_is_nothing_to_resume(tmp_path):
    (tmp_path / "run").mkdir()
    with copied(tmp_path / "run") as copy:
        assert checks._resumable(copy) == 0


def test_a_copy_that_its_ledger_does_not_bear_out_is_found(run, monkeypatch):
    monkeypatch.setattr(RunDirectory, "restore", lambda self, tell: dataclasses.replace(self.first, update=5))
    with copied(run) as copy, pytest.raises(PropertyFailed, match="a copy can be resumed"):
        checks._resumable(copy)


# ---- a second driver ----------------------------------------------------------------------------------------------


@pytest.fixture
def first_driver(tmp_path, monkeypatch):
    """A process that passes for the driver that the lock names; whether it holds the lock is the test's matter."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", str(tmp_path / "driver.py")])
    monkeypatch.setattr(disturbance, "processes", lambda what: [disturbance.psutil.Process(process.pid)])
    monkeypatch.setattr(checks, "ENDING_S", 2.0)
    yield process
    process.kill()
    process.wait()


def name_in_lock(run: Path, process: int) -> None:
    (run / "lock").write_text(f"driver process {process} on {os.uname().nodename}\n")


def test_a_second_driver_is_refused(run, first_driver):
    with locked(run):
        assert checks.second_driver(run).startswith(f"refused: {run} is being written by driver process")


def test_a_run_that_is_not_locked_against_a_second_driver_is_found(run, first_driver):
    name_in_lock(run, first_driver.pid)
    with pytest.raises(PropertyFailed, match="a second driver is refused"):
        checks.second_driver(run)


def test_a_driver_that_has_ended_is_nothing_to_be_refused_for(run, first_driver):
    name_in_lock(run, first_driver.pid)
    first_driver.kill()
    assert checks.second_driver(run) == "there was no driver to be refused for"


def test_where_there_is_no_run_there_is_nothing_to_be_refused_from(tmp_path):
    assert checks.second_driver(tmp_path / "run") == "there is no run yet"
