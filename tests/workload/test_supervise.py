"""The containers' supervisor, without containers: what it does with a driver's end, with signals, and with silence."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workload import health, ray_node, supervise, supervised_driver
from workload.supervised_driver import Delay, Driver

ROOT = Path(__file__).parents[2]
SENTENCE = "print('driver.py: property failed: the weights are finite', file=sys.stderr)"


def driver_that(code: str, run: Path) -> Driver:
    return Driver(run, [sys.executable, "-c", f"import sys, time, os, signal\n{code}"])


def keep_until_ended(driver: Driver, joined: bool = True) -> None:
    driver.keep(True)
    deadline = time.monotonic() + 30
    while driver.running:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        driver.keep(joined)


@pytest.mark.parametrize(
    ("code", "joined", "said"),
    [
        ("sys.exit(3)", True, "exit code 3): it is started again in 1 s"),
        ("os._exit(1)", True, "exit code 1): it is started again in 1 s"),
        ("sys.exit(2)", True, "exit code 2): it is started again in 60 s"),
        ("sys.exit(2)", False, "exit code 2): it is started again in 1 s"),
        ("sys.exit(141)", True, "exit code 141): it is started again in 1 s"),
        ("sys.exit(4)", True, "exit code 4): it is started again in 30 s"),
        ("os.kill(os.getpid(), signal.SIGKILL)", True, "killed by SIGKILL): it is started again in 1 s"),
    ],
)
def test_a_driver_that_ended_is_started_again_when_its_exit_code_allows(
    code: str, joined: bool, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    driver = driver_that(code, tmp_path)
    keep_until_ended(driver, joined)
    assert said in capfd.readouterr().out
    assert driver.end is None


def test_a_failed_property_stops_the_driver_for_good_and_is_said(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    driver = driver_that(f"{SENTENCE}; sys.exit(1)", tmp_path)
    keep_until_ended(driver)
    driver.keep(True)
    assert not driver.running
    assert "the driver stays stopped: property failed: the weights are finite" in capfd.readouterr().out
    assert not driver.complete


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("print('driver.py: a bug in this program (KeyError)', file=sys.stderr); ", "a bug in this program (KeyError)"),
        ("", "a bug in this program"),
    ],
)
def test_a_bug_is_not_begun_again_as_if_nothing_were(
    before: str, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    driver = driver_that(f"{before}sys.exit(6)", tmp_path)
    keep_until_ended(driver)
    driver.keep(True)
    assert not driver.running
    assert capfd.readouterr().out.splitlines()[1:] == [f"supervisor: the driver stays stopped: {said}"]
    assert not driver.complete


def test_a_complete_run_is_not_started_again(tmp_path: Path) -> None:
    driver = driver_that("", tmp_path)
    keep_until_ended(driver)
    driver.keep(True)
    assert not driver.running
    assert driver.complete
    assert driver.has_committed()


def test_a_driver_waits_for_its_node_to_join(tmp_path: Path) -> None:
    driver = driver_that("", tmp_path)
    driver.keep(False)
    assert not driver.running


@pytest.mark.parametrize("there", [False, True])
def test_a_run_that_is_there_is_resumed(there: bool, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if there:
        (tmp_path / "config.json").write_text("{}")
    keep_until_ended(driver_that("print(sys.argv[1:])", tmp_path))
    assert ("'--resume'" in capfd.readouterr().out) is there


def test_an_update_counts_once_the_ledger_grows(tmp_path: Path) -> None:
    ledger = tmp_path / "metrics.jsonl"
    ledger.write_text("an update of earlier\n")
    driver = driver_that(f"open({str(ledger)!r}, 'a').write('one more\\n'); sys.exit(3)", tmp_path)
    assert not driver.has_committed()
    keep_until_ended(driver)
    assert driver.has_committed()


def test_setup_is_complete_once_whatever_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each supervisor is another start of the container, with the same volume."""
    told: list[object] = []
    monkeypatch.setattr("antithesis.lifecycle.setup_complete", told.append)
    run = tmp_path / "run"
    run.mkdir()

    class Node:
        running = joined = False
        standing, address = ray_node.Standing.ALIVE, "192.0.2.1"

    for expected in (1, 1):
        driver = driver_that("", run)
        node = Node()
        supervisor = supervise.Supervisor(node, driver)  # type: ignore[arg-type]
        supervisor._report_setup(driver)
        node.running = node.joined = True
        supervisor._report_setup(driver)  # no update is committed yet
        assert len(told) == expected - (not (tmp_path / supervise.SET_UP).exists())
        driver.complete = True
        supervisor._report_setup(driver)
        supervisor._report_setup(driver)
        assert told == [{"run_directory": str(run)}] * expected
        assert supervisor._health() == (True, "Ray is up at 192.0.2.1")


def test_a_driver_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervised_driver, "DRIVER_STOP_S", 0.5)
    driver = driver_that(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(60)", tmp_path
    )
    driver.keep(True)
    time.sleep(0.5)
    began = time.monotonic()
    driver.stop()
    assert not driver.running
    assert time.monotonic() - began < 5


def test_rays_stack_traces_are_left_out_and_its_reasons_kept(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines = [
        "(raylet) The node has been marked dead.",
        "    *** StackTrace Information ***",
        "    /usr/lib/python3/ray/raylet(+0xff770a) [0x55a6] ray::operator<<()",
        "PC: @     0x7faac9c75829  (unknown)  syscall",
        "    @     0x7faabe58285e       1280  ray::gcs::GlobalStateAccessor",
        "",
        "Traceback (most recent call last):",
    ]
    keep_until_ended(driver_that(f"[print(line, file=sys.stderr) for line in {lines!r}]; sys.exit(3)", tmp_path))
    assert capfd.readouterr().err.splitlines() == [lines[0], lines[-1]]


def test_delays_double_up_to_a_limit_and_are_forgiven() -> None:
    delay = Delay()
    assert delay.over()
    assert [delay.begin() for _ in range(6)] == [1, 2, 4, 8, 15, 15]
    assert not delay.over()
    delay.forgive()
    assert delay.begin() == 1


def test_a_silent_supervisor_is_unhealthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATH", tmp_path / "health")
    assert health.read() == (False, "not healthy: the supervisor has said nothing yet")
    health.write(True, "training")
    assert health.read() == (True, "healthy: training")
    health.write(False, "the head does not answer")
    assert health.read() == (False, "not healthy: the head does not answer")
    health.write(True, "training")
    old = time.time() - 60
    os.utime(health.PATH, (old, old))
    is_healthy, line = health.read()
    assert not is_healthy
    assert "nothing for 60 s" in line


def test_a_head_that_is_not_there_does_not_answer() -> None:
    assert ray_node.ask("127.0.0.1", "00" * 28) in (ray_node.Standing.NO_ANSWER, ray_node.Standing.UNKNOWN)
    assert not ray_node.stands("no-such-host.invalid")


@pytest.mark.parametrize("arguments", [["worker", "--num-cpus=1"], ["trainer"], ["cook", "--num-cpus=1"]])
def test_a_command_line_that_cannot_be_used_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        supervise.assemble(arguments)
    assert stop.value.code == 2


def test_sigterm_ends_everything_with_0_within_ten_seconds(tmp_path: Path) -> None:
    """Ray is a stand-in here that ignores SIGTERM, and so does its child."""
    fake_ray = tmp_path / "commands" / "ray"
    fake_ray.parent.mkdir()
    fake_ray.write_text("#!/bin/sh\ntrap '' TERM\nsleep 61.5 &\nsleep 61.5\n")
    fake_ray.chmod(0o755)
    if ray_node.own_address() is None:
        pytest.skip("this machine has no network interface but loopback")
    environment = {
        **os.environ,
        "PATH": f"{fake_ray.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "workload.supervise", "head", "--num-cpus=0"]
    supervisor = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 120
        while len(started := living_children(supervisor.pid)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        began = time.monotonic()
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(10) == 0
        assert time.monotonic() - began < 9
        assert not ray_node.living(started[0])
    finally:
        supervisor.kill()


def living_children(parent: int) -> list[int]:
    """The processes of the session that a supervisor has started, its leader first."""
    found = subprocess.run(["pgrep", "--parent", str(parent)], capture_output=True, text=True, check=False)
    return [process for leader in found.stdout.split() for process in sorted(ray_node.living(int(leader)))]
