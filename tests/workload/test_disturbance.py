"""Test commands that kill and freeze find their process and no other, and what they froze thaws without them."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

import invariants
from bitexact.reporting import catalog
from workload import disturbance

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "workload" / "template"
COMMANDS = sorted(TEMPLATE.glob("*/*.py"))
DISTURBING = [path for path in COMMANDS if re.search("_(kill|freeze)_", path.stem)]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a stand-in for one of the processes, which sleeps."""
    begun: list[subprocess.Popen[bytes]] = []

    def begin(what: str) -> subprocess.Popen[bytes]:
        if what == "actor":
            begun.append(subprocess.Popen(["ray::PongEnv.run", "60"], executable=shutil.which("sleep")))
        elif what == "driver":
            (tmp_path / "driver.py").write_text("import time; time.sleep(60)")
            begun.append(subprocess.Popen([sys.executable, str(tmp_path / "driver.py"), "--run-dir=x"]))
        else:
            program = tmp_path / {"gcs": "gcs_server"}.get(what, what)
            shutil.copy(shutil.which("sleep") or "", program)
            begun.append(subprocess.Popen([program, "60"]))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def ours_alone(begin: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that happens to run on this machine is left alone."""
    children = psutil.Process().children
    monkeypatch.setattr(psutil, "process_iter", lambda names: [_with_info(child) for child in children()])


def _with_info(process: psutil.Process) -> psutil.Process:
    process.info = process.as_dict(["cmdline"])
    return process


@pytest.mark.parametrize("what", disturbance.PROCESSES)
def test_one_process_of_the_kind_is_killed_and_no_other(what, begin, monkeypatch):
    told = []
    monkeypatch.setattr(invariants, "send_event", lambda name, details: told.append((name, details)))
    all_of_them = {one: begin(one) for one in disturbance.PROCESSES}
    time.sleep(0.2)  # until each has its own command line
    assert disturbance.disturb("kill", what) == f"killed {what} (process {all_of_them[what].pid})"
    assert all_of_them.pop(what).wait(5) == -signal.SIGKILL
    assert [process.poll() for process in all_of_them.values()] == [None] * 3
    assert told == [("disturbed", {"how": "kill", "what": what, "process": told[0][1]["process"], "seconds": 0})]


def test_what_is_frozen_thaws(begin, monkeypatch):
    monkeypatch.setattr(disturbance, "_FREEZE_S", (1,))
    process = begin("raylet")
    time.sleep(0.2)
    states = []
    monkeypatch.setattr(time, "sleep", lambda _, sleep=time.sleep: (states.append(state(process.pid)), sleep(0.1)))
    assert disturbance.disturb("freeze", "raylet") == f"froze raylet (process {process.pid}) for 1 s"
    assert states.count(psutil.STATUS_STOPPED) >= 5  # of the ten looks that a second has
    wait_for(process.pid, psutil.STATUS_SLEEPING)


def test_what_is_frozen_thaws_though_the_command_is_killed(begin):
    process = begin("raylet")
    freezing = f"import psutil; from workload import disturbance; disturbance._freeze(psutil.Process({process.pid}), 2)"
    command = subprocess.Popen([sys.executable, "-c", freezing], cwd=ROOT, start_new_session=True)
    wait_for(process.pid, psutil.STATUS_STOPPED)
    command.kill()
    command.wait()
    wait_for(process.pid, psutil.STATUS_SLEEPING)


def test_that_there_is_none_is_no_bug():
    assert disturbance.disturb("kill", "gcs") == "nothing was disturbed: there is no gcs here just now"


def state(process: int) -> str:
    return psutil.Process(process).status()


def wait_for(process: int, expected: str) -> None:
    deadline = time.monotonic() + 30
    while state(process) != expected:
        assert time.monotonic() < deadline
        time.sleep(0.05)


# ---- the template's files ----


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_a_command_names_claims_that_are_declared(command):
    declared = {one.claim for one in catalog.read(ROOT / "invariants.py").properties}
    serves = " ".join(command.read_text().partition("Serves: ")[2].partition('.\n"""')[0].split())
    assert {claim.strip() for claim in serves.split(";")} <= declared


@pytest.mark.parametrize("command", DISTURBING, ids=lambda path: path.stem)
def test_a_command_that_disturbs_does_what_its_name_says(command):
    how, what = command.stem.removeprefix("parallel_driver_").split("_")
    assert what in disturbance.PROCESSES
    assert f'disturb("{how}", "{what}")' in command.read_text()
