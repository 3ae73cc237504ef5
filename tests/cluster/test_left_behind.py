"""What a killed driver leaves running is ended by the next start of its run, and nothing else is."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from commands import finished, running

from bitexact.cluster.left_behind import NOTE, end_left_behind, noted

SMALL = ("--preset=reinforce", "--batch-size=2", "--hidden-units=8", "--actors=1")


@pytest.fixture
def bystander() -> Iterator[psutil.Popen]:
    with psutil.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        if process.poll() is None:
            process.kill()


def note(folder: Path, number: int, started: float, host: str = socket.gethostname()) -> None:
    (folder / NOTE).write_text(json.dumps({"host": host, "processes": [[number, started]]}))


def test_what_was_noted_is_ended(tmp_path, bystander):
    note(tmp_path, bystander.pid, bystander.create_time())
    assert end_left_behind(tmp_path) == 1
    assert bystander.wait(10.0) == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_number_that_was_used_again_is_left_alone(tmp_path, bystander):
    note(tmp_path, bystander.pid, bystander.create_time() - 0.01)
    assert end_left_behind(tmp_path) == 0
    assert bystander.poll() is None


def test_another_machines_process_is_left_alone(tmp_path, bystander):
    note(tmp_path, bystander.pid, bystander.create_time(), host="elsewhere")
    assert end_left_behind(tmp_path) == 0
    assert bystander.poll() is None


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, '{"host": 1}', '{"processes": [["a", "b"]]}', "\0"])
def test_a_damaged_note_names_nothing(tmp_path, text):
    (tmp_path / NOTE).write_text(text)
    assert end_left_behind(tmp_path) == 0


def test_it_is_noted_while_the_block_takes(tmp_path, bystander):
    with noted(tmp_path):
        assert [bystander.pid, bystander.create_time()] in json.loads((tmp_path / NOTE).read_text())["processes"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_next_start_ends_what_a_killed_driver_left(tmp_path):
    run = tmp_path / "run"
    with running(*SMALL, f"--run-dir={run}") as driver:
        driver.wait_for_update(1)
        left = [(number, started) for number, started in json.loads((run / NOTE).read_text())["processes"]]
        driver.send(signal.SIGKILL)
        driver.wait()
        alive = [one for one in left if is_alive(*one)]
        assert alive, "Ray ends its agents by itself now: this module is of no use any more"
        done = finished("--resume", f"--run-dir={run}", "--updates=2")
        assert done.returncode == 0, done.stderr
        assert "that a killed driver of this run had left" in done.stdout
        assert not any(is_alive(*one) for one in left)
        assert not (run / NOTE).exists()


def is_alive(number: int, started: float) -> bool:
    try:
        process = psutil.Process(number)
        return process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
