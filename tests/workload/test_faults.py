"""The fault injector: a seed draws the same faults each time, what it checks can fail, training gets through it all."""

import dataclasses
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
from commands import finished, patience, running
from conftest import FinishedRun
from hypothesis import given
from hypothesis import strategies as st

from bitexact.cli import exits
from bitexact.cli.exits import BadInput, Differs
from bitexact.reporting import verdicts
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.ledger import METRICS, Ledger
from bitexact.storage.run import CHECKPOINTS
from training.initial_state import from_seed
from training.settings import Settings, read_settings
from workload import faults
from workload.driver_process import Commit, DriverProcess
from workload.fault_accounts import Accounts
from workload.fault_schedule import (
    MOST_NODES,
    NODE_ADDITIONS,
    NODE_LOSSES,
    NODES_AT_FIRST,
    ROLLOUT_TIMEOUT_S,
    Kind,
    Profile,
    draw,
)

FAULTS = "workload.faults"
SEEDS = st.integers(0, 2**63 - 1)
DECK, PUBLISHED_DECK = 28, 76  # faults after which each kind has come up

# Claims that hold for want of being reached, unless faults do their work.
REACHED_BY_FAULTS = {
    "A batch completes although an actor died in it",
    "A lost rollout is computed on another node",
    "A run resumes after update 0",
    "A late duplicate of a rollout is dropped",
    "An update is computed again after a resume",
}


# ---- the schedule -------------------------------------------------------------------------------------------------


@given(SEEDS)
def test_a_seed_draws_the_same_faults_whatever_their_number(seed: int) -> None:
    assert draw(seed, 60)[:20] == draw(seed, 20)
    assert draw(seed, 60) == draw(seed, 60)


@given(SEEDS, SEEDS)
def test_another_seed_draws_other_faults(seed: int, other: int) -> None:
    assert (draw(seed, 10) == draw(other, 10)) == (seed == other)


@given(SEEDS)
def test_every_kind_comes_up_in_each_deck(seed: int) -> None:
    kinds = [fault.kind for fault in draw(seed, 3 * DECK)]
    for first in range(0, len(kinds), DECK):
        assert set(kinds[first : first + DECK]) == set(Kind)


@given(SEEDS)
def test_a_published_deck_has_the_published_proportions(seed: int) -> None:
    kinds = [fault.kind for fault in draw(seed, PUBLISHED_DECK, "published")]
    strikes = [kind for kind in kinds if kind not in NODE_ADDITIONS]
    shares = {  # of 419 interruptions, by what they were: accelerators, software, hosts, network, hangs, corruption
        Kind.ACTOR_KILLED: 0.64,
        Kind.DRIVER_KILLED: 0.13,
        Kind.NODE_KILLED: 0.11,
        Kind.RAYLET_FROZEN_A_WHILE: 0.10,
        Kind.ACTOR_FROZEN: 0.02,
        Kind.CHECKPOINT_TORN: 0.014,
    }
    assert set(strikes) == shares.keys()
    for kind, share in shares.items():
        assert strikes.count(kind) / len(strikes) == pytest.approx(share, abs=0.01)
    assert kinds.count(Kind.NODE_ADDED) == kinds.count(Kind.NODE_KILLED)


@pytest.mark.parametrize("profile", ["even", "published"])
@given(seed=SEEDS)
def test_there_is_always_something_to_strike_at(seed: int, profile: Profile) -> None:
    nodes = NODES_AT_FIRST
    for fault in draw(seed, 200, profile):
        if nodes == 0:
            assert fault.kind in NODE_ADDITIONS
            assert not fault.waits_for_update
        nodes += (fault.kind in NODE_ADDITIONS) - (fault.kind in NODE_LOSSES)
        assert 0 <= nodes <= MOST_NODES


@given(SEEDS)
def test_what_is_drawn_can_be_done(seed: int) -> None:
    for fault in draw(seed, 50):
        assert 0.0 < fault.frozen_s < 3 * ROLLOUT_TIMEOUT_S
        assert fault.rest_s == 0.0 or 0.0 < fault.frozen_s < fault.rest_s
        if fault.kind is Kind.ACTOR_FROZEN_A_WHILE and fault.rest_s:
            assert ROLLOUT_TIMEOUT_S < fault.frozen_s < fault.rest_s < 2 * ROLLOUT_TIMEOUT_S
        assert 0.0 <= fault.torn_at < 1.0
        assert 0 < sum(fault.failing_percent) < 10


# ---- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--faults=0"], "--faults must be a whole number from 1, not 0"),
        (["--updates=0"], "--updates must be a whole number from 1, not 0"),
        (["--minutes=0"], "--minutes must be a finite number above 0, not 0.0"),
        (["--minutes=nan"], "--minutes must be a finite number above 0, not nan"),
        (["--seed=-1"], "--seed must be a whole number from 0"),
        (["--faults=many"], "--faults"),
        (["--fault=3"], "--fault"),
        (["--profile=odd"], "--profile"),
        (["--run-dir=/proc/no/where"], "/proc/no/where"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "argv", ["workload/faults.py", *arguments])
    with pytest.raises(SystemExit) as end:
        exits.run(faults.main)
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith("faults.py: ")
    assert error.count("\n") == 1
    assert words in error


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(BadInput, match="is in use"):
        faults.main([f"--run-dir={tmp_path}"])
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# ---- what it checks -----------------------------------------------------------------------------------------------


@pytest.fixture
def run(golden_run: FinishedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(golden_run.directory, tmp_path / "run"))


@pytest.fixture(scope="module")
def reference(golden_run: FinishedRun) -> dict[int, faults.Entry]:
    return faults.compute_without_faults(read_settings(golden_run.directory))


def test_a_run_of_the_driver_is_as_without_faults(run: Path, reference: dict[int, faults.Entry]) -> None:
    faults.check_ledger(run, reference)


def _line(path: Path, number: int) -> str:
    return path.read_text().splitlines(keepends=True)[number]


@pytest.mark.parametrize("what", ["twice", "missing", "another digest", "another rollout", "a rollout twice"])
def test_a_ledger_that_is_not_as_without_faults_is_refused(
    what: str, run: Path, reference: dict[int, faults.Entry]
) -> None:
    metrics, rollouts = run / METRICS, run / "rollouts.jsonl"
    digest = Ledger(run).digest(2) or ""
    if what == "twice":
        metrics.write_text(metrics.read_text() + _line(metrics, -1))
    elif what == "missing":
        metrics.write_text(_line(metrics, 0))
    elif what == "another digest":
        metrics.write_text(metrics.read_text().replace(digest, "0" * len(digest)))
    elif what == "another rollout":
        of_one = Ledger(run).entry(2).rollouts[1]["digest"]
        rollouts.write_text(rollouts.read_text().replace(of_one, "0" * len(of_one)))
    else:
        rollouts.write_text(rollouts.read_text() + _line(rollouts, -1))
    with pytest.raises(Differs):
        faults.check_ledger(run, reference)


# ---- what it does -------------------------------------------------------------------------------------------------


def _training(run: Path) -> DriverProcess:
    return DriverProcess(dataclasses.replace(read_settings(run), run_dir=run))


@pytest.mark.parametrize("cuts", [True, False])
def test_a_torn_checkpoint_is_not_used(run: Path, cuts: bool) -> None:
    training, checkpoints = _training(run), Checkpoints(run / CHECKPOINTS)
    like = from_seed(read_settings(run))
    assert checkpoints.updates() == [1, 2]
    training.tear_checkpoint(rank=1, at=0.5, cuts=cuts)
    complaints: list[str] = []
    found = checkpoints.newest_good(like, 2, complaints.append)
    assert found is not None
    assert found.update == 1
    assert len(complaints) == 1


@given(at=st.floats(0.0, 1.0, exclude_max=True))
def test_a_torn_ledger_ends_in_the_beginning_of_a_line(at: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = tmp_path_factory.mktemp("run")
    line = b'{"update": 1, "weights_digest": "ab", "rollouts": 1}'
    (run / METRICS).write_bytes(line + b"\n")
    DriverProcess(Settings(run_dir=run)).tear_ledger(at)
    assert (run / METRICS).read_bytes().startswith(line + b"\n" + line[:1])
    assert not (run / METRICS).read_bytes().endswith((b"\n", line))
    assert Ledger(run).last_update == 1
    Ledger(run).cut_torn_lines(lambda _: None)
    assert (run / METRICS).read_bytes() == line + b"\n"


def test_what_an_interval_takes_too_long_is_charged_to_its_faults() -> None:
    accounts, drawn = Accounts(), draw(0, 3)
    killed = [dataclasses.replace(fault, kind=Kind.ACTOR_KILLED) for fault in drawn[:2]]
    restarted = dataclasses.replace(drawn[2], kind=Kind.DRIVER_KILLED)
    accounts.began(0.0)
    accounts.committed(Commit(1, "", again=False, at_s=5.0))  # the start: not an update's time
    accounts.committed(Commit(2, "", again=False, at_s=6.0))  # the usual second
    accounts.struck(killed[0])
    accounts.struck(killed[1])
    accounts.committed(Commit(3, "", again=False, at_s=10.0))  # three too many, by both
    accounts.committed(Commit(4, "", again=False, at_s=11.0))
    accounts.committed(Commit(5, "", again=False, at_s=12.0))
    accounts.struck(restarted)
    accounts.committed(Commit(4, "", again=True, at_s=14.0))
    accounts.committed(Commit(5, "", again=True, at_s=15.0))
    assert [outcome.survived for outcome in accounts.outcomes] == [True, True, False]
    accounts.committed(Commit(6, "", again=False, at_s=16.0))
    accounts.table()
    assert [outcome.survived for outcome in accounts.outcomes] == [True, True, True]
    assert [outcome.redone for outcome in accounts.outcomes] == [0, 0, 2]
    assert [outcome.lost_s for outcome in accounts.outcomes] == pytest.approx([1.5, 1.5, 3.0])
    assert accounts.progress_share() == pytest.approx(1 - 6 / 11)  # of what lies between the first update and the last


# ---- all of it ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("preset", ["ppo", pytest.param("reinforce", marks=pytest.mark.campaign)])
def test_training_under_faults_ends_in_the_digest_without_them(tmp_path: Path, preset: str) -> None:
    arguments = [f"--faults={DECK}", "--seed=1", "--updates=20", f"--preset={preset}", f"--run-dir={tmp_path / 'runs'}"]
    done = finished(*arguments, program=FAULTS, limit_s=patience(360.0))
    assert done.returncode == 0, done.stdout + done.stderr
    struck = re.findall(r"^ +[\d.]+ s  fault \d+ of \d+: (.*?) \(", done.stdout, re.MULTILINE)
    assert len(struck) == DECK
    assert set(struck) == {kind.value for kind in Kind}
    assert re.search(rf"^ all +│ +{DECK} │ +{DECK} │", done.stdout, re.MULTILINE), done.stdout
    assert done.stdout.splitlines()[-1].startswith("digests equal: ")

    seen = verdicts.make(sorted((tmp_path / "runs").glob("training-???")))
    assert seen.count(verdicts.FAILED) == 0
    reached = {verdict.declared.claim for verdict in seen.verdicts if verdict.status == verdicts.PASSED}
    assert reached >= REACHED_BY_FAULTS


@pytest.mark.slow
def test_interrupted_it_leaves_no_process(tmp_path: Path) -> None:
    assert draw(5, 1)[0].kind in NODE_ADDITIONS  # Ray handles signals when it starts a node: they are taken back
    with running("--seed=5", "--updates=3", f"--run-dir={tmp_path / 'runs'}", program=FAULTS) as workload:
        workload.wait_for(lambda: "fault 2 of" in workload.out, "two faults")
        workload.send(signal.SIGTERM)
        assert workload.wait() == 143
        assert workload.err == "faults.py: stopped by SIGTERM\n"
        assert "how many" in workload.out
        workload.wait_for_the_last_process()  # agents whose raylet was a fault's victim end by themselves
