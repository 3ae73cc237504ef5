"""The local stand-in for the platform finds bugs: each planted one by a property that names it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from containers import why_not

from bitexact.reporting import verdicts
from workload import container_faults
from workload.containers import ComposeCluster

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = [sys.executable, "-m", "workload.local_antithesis"]
LIMIT_S = 500.0

FOUND_BY = {
    "rollout-twice": "An update is the sum of each of its rollouts once",
    "stale-weights": "Every rollout counted was played with the current weights",
    "large-steps": "No weight moves further in an update than the optimizer can move it",
    "lost-optimizer-state": "A recorded update can be recomputed to the bit",
    "line-twice": "The ledger holds each update and each of its rollouts once",
}


needs_docker = [pytest.mark.docker, pytest.mark.skipif(bool(why_not()), reason=why_not())]


# Each takes minutes: a bug in the driver and one that only a test command finds are enough for every change.
FOR_EVERY_CHANGE = {"rollout-twice", "line-twice"}


def marks(bug: str) -> list[pytest.MarkDecorator]:
    return needs_docker if bug in FOR_EVERY_CHANGE else [*needs_docker, pytest.mark.campaign]


@pytest.mark.parametrize("bug", [pytest.param(bug, marks=marks(bug)) for bug in FOUND_BY])
@pytest.mark.timeout(LIMIT_S + 120)
def test_a_planted_bug_fails_the_property_that_names_it(bug, tmp_path):
    override = ROOT / "tests" / "planted" / "compose.yaml"
    command = [*STAND_IN, "--minutes=3", f"--out={tmp_path}", f"--override={override}", "--stop-at-failure"]
    environment = {**os.environ, "PLANTED_BUG": bug}
    try:
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    finally:
        ComposeCluster().down()  # where it was killed for taking too long
    seen = {
        verdict.declared.claim: verdict.status
        for verdict in verdicts.make(sorted(path.parent for path in tmp_path.glob("*/config.json"))).verdicts
    }
    assert seen[FOUND_BY[bug]] == verdicts.FAILED, done.stdout[-3000:] + done.stderr[-1000:]
    assert done.returncode == 1
    assert f"FAILED: {FOUND_BY[bug]}\n" in done.stdout


def test_without_an_engine_it_says_what_else_there_is(tmp_path):
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(STAND_IN, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "-m workload.faults" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_bad_input_is_one_sentence(tmp_path):
    for arguments in (["--minutes=0"], ["--minutes=nan"], ["--seed=x"], [f"--override={tmp_path / 'missing.yaml'}"]):
        done = subprocess.run([*STAND_IN, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr


def test_the_same_seed_draws_the_same_faults():
    def faults(seed):
        schedule = container_faults.draw(seed, ["a", "b"], ["kill", "pause"])
        return [next(schedule) for _ in range(50)]

    assert faults(1) == faults(1)
    assert faults(1) != faults(2)
    assert {fault.kind for fault in faults(1)} == {"kill", "pause"}
