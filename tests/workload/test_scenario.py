"""A timeline's scenario: drawn once, among the runs whose golden digests are known, heeded by driver and commands."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from training import golden, settings
from workload import disturbance, scenario
from workload import golden as golden_file
from workload.scenario import Scenario
from workload.supervised_driver import Driver

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "workload" / "template"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "scenario.json"
    monkeypatch.setenv("RAY_PONG_SCENARIO", str(path))
    return path


def drawn(file: Path) -> Scenario:
    file.unlink(missing_ok=True)
    return scenario.draw()


def test_once_drawn_it_stays(file):
    assert scenario.read() is None
    first = scenario.draw()
    assert scenario.read() == first
    assert [scenario.draw() for _ in range(5)] == [first] * 5


def test_draws_differ_in_all_that_is_drawn_and_leave_some_commands_out(file):
    found = [drawn(file) for _ in range(200)]
    for field in dataclasses.fields(Scenario):
        assert len({str(getattr(one, field.name)) for one in found}) > 1, field.name
    for command in scenario.WEIGHTED:
        assert {one.weights[command] for one in found} == set(scenario.WEIGHTS), command
    assert 0 in scenario.WEIGHTS


def test_every_run_that_may_be_drawn_has_golden_digests(file):
    known = {golden.name_of(one) for one in golden_file.scenarios()}
    found = {golden.name_of(settings.from_command_line(drawn(file).flags())) for _ in range(300)}
    assert found == known  # each of twelve comes up in 300 draws, but once in ten thousand million times


def test_a_command_acts_as_often_as_its_weight_says(file):
    weights = {"kill_actor": 0, "kill_gcs": 2, "replay_update": scenario.ALWAYS}
    one = dataclasses.replace(drawn(file), weights=weights)
    acted = {name: sum(one.wants(name) for _ in range(400)) for name in (*weights, "check")}
    assert (acted["kill_actor"], acted["replay_update"], acted["check"]) == (0, 400, 400)
    assert 100 < acted["kill_gcs"] < 300


def test_each_weight_is_a_commands():
    commands = {path.stem.removeprefix("parallel_driver_") for path in TEMPLATE.glob("*/parallel_driver_*.py")}
    assert set(scenario.WEIGHTED) <= commands
    assert {f"kill_{what}" for what in disturbance.PROCESSES} <= set(scenario.WEIGHTED)


@pytest.mark.parametrize(("weight", "said"), [(0, "left out this time"), (4, "of a copy resumed after update 0")])
def test_a_test_command_heeds_its_weight(file, tmp_path, weight, said):
    """Shown by one that disturbs nothing: what else runs on this machine is left alone."""
    one = dataclasses.replace(drawn(file), weights={"replay_update": weight})
    file.write_text(json.dumps(dataclasses.asdict(one)))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_PONG_RUN": str(tmp_path / "pong")}
    command = [sys.executable, str(TEMPLATE / "trainer" / "parallel_driver_replay_update.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(said)


def test_the_driver_leaves_its_run_for_the_scenarios_and_begins_that(file, tmp_path, capfd):
    waits = "import sys, time; print(sys.argv[1:], flush=True); time.sleep(60)"
    driver = Driver(tmp_path / "pong", [sys.executable, "-c", waits], ["--batch-size=9"])
    driver.keep(True)
    assert driver.running
    time.sleep(0.5)
    flags = scenario.draw().flags()
    try:
        for _ in range(3):
            driver.keep(True)
        time.sleep(0.5)
    finally:
        driver.stop()
    lines = [line for line in capfd.readouterr().out.splitlines() if line.startswith("[")]
    run = tmp_path / scenario.RUN
    assert lines == [str(["--batch-size=9", f"--run-dir={tmp_path / 'pong'}"]), str([*flags, f"--run-dir={run}"])]
    assert driver.run == run


def test_a_container_that_restarts_goes_on_with_its_scenario(file, tmp_path):
    scenario.draw()
    driver = Driver(tmp_path / "pong", [sys.executable, "-c", ""], ["--batch-size=9"])
    driver.keep(False)
    assert (driver.run, driver.running) == (tmp_path / scenario.RUN, False)
