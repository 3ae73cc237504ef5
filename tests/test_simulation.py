"""The driver's own loop in one process, through drawn histories: what no fault excuses holds in each of them.

pytest tests/test_simulation.py                                            always the same histories
PYTHONPATH=.:tests python tests/histories.py --histories=10000 --seed=1    a campaign
"""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from commands import ROOT
from histories import Flip, Histories, play, search, told
from hypothesis import Phase
from kept_histories import FATAL
from kill_matrix import in_words, main, planted
from planted.fault_bugs import BUGS
from simulated_cluster import NEVER, Script
from simulation import Life, Plan, simulated

QUICKLY, IN_CI = 20, 300  # histories; ten are about a second of one processor


@pytest.fixture(scope="module", autouse=True)
def in_simulation() -> Iterator[None]:
    with simulated():
        yield


def test_whatever_happens_the_run_ends_as_without_it():
    search(QUICKLY)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_happens_in_many_histories_the_run_ends_as_without_it():
    Histories.met.clear()
    search(IN_CI)
    ends = {name.removeprefix("life ended: ") for name in Histories.met if name.startswith("life ended: ")}
    assert ends == {"done", "Killed", "DiskRefused", "Interrupted", "ClusterLost", "BadInput"}
    assert Histories.met["faults"] > IN_CI


@pytest.mark.parametrize("bug", FATAL)
def test_a_bug_that_only_faults_bring_out_is_found_and_its_history_ends_well_without_it(bug, tmp_path):
    (tmp_path / "sound").mkdir()
    (tmp_path / "planted").mkdir()
    play(FATAL[bug].history, tmp_path / "sound")
    with planted(bug), pytest.raises(BaseException) as found:  # noqa: PT011 - which one is the question
        play(FATAL[bug].history, tmp_path / "planted")
    assert in_words(found.value) == FATAL[bug].found_by


@pytest.mark.parametrize("bug", FATAL)
def test_without_faults_nothing_is_seen_of_it(bug, tmp_path):
    plan, *_ = FATAL[bug].history
    with planted(bug):
        play((plan, Life(), Life()), tmp_path)


def test_each_planted_bug_has_such_a_history():
    assert FATAL.keys() == BUGS.keys()


def test_the_page_names_each_bug_and_what_finds_it():
    page = (ROOT / "docs" / "simulation.md").read_text()
    for bug, (_, found_by) in FATAL.items():
        assert f"| {bug.replace('-', ' ')} | " in page
        assert f" | {found_by.replace('nN', 'n0')} |" in page


@pytest.mark.slow
def test_the_table_of_bugs_says_what_finds_one(capsys):
    assert main(["--bug=lock-skipped", "--most=200"]) == 0
    assert "| lock skipped | nothing | a second driver was let in |" in capsys.readouterr().out


def test_the_planted_bugs_are_taken_out_again():
    for bug in BUGS:
        module = __import__(BUGS[bug][0], fromlist=["*"])
        before = {name: dict(vars(one)) for name, one in vars(module).items() if isinstance(one, type)}
        with planted(bug):
            pass
        assert {name: dict(vars(one)) for name, one in vars(module).items() if isinstance(one, type)} == before


FULL = (
    Plan(preset="ppo", batch_size=2),
    Life(script=Script(nodes=(2, 1), faults=((1.5, "freeze", 0), (2.0, "leave", 1))), end=("power", 40)),
    Flip(which=0, place=0.5),
    Life(slow=((1, 20.0),), rival_at=20, end=("killed", 30.0)),
)


def test_a_history_as_it_is_printed_is_the_same_history():
    names = {"Plan": Plan, "Life": Life, "Flip": Flip, "Script": Script, "NEVER": NEVER}
    assert eval(told(FULL), names) == FULL


def test_a_history_played_twice_leaves_the_same_bytes(tmp_path):
    left = []
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        assert play(FULL, tmp_path / name) == ["Killed", "Killed"]
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file() and path.suffix != ".npz")
        left.append({path.relative_to(tmp_path / name): path.read_bytes() for path in files})
    assert left[0] == left[1]
    assert len(left[0]) > 3


@pytest.mark.slow
def test_a_failing_history_is_shrunk_to_what_matters():
    with planted("deadline-never-doubles"), pytest.raises(AssertionError, match="a rollout never comes to its end"):
        search(200, phases=[Phase.generate, Phase.shrink])
    assert Histories.failed == FATAL["deadline-never-doubles"].history


def test_a_campaign_says_what_it_met():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, "tests/histories.py", "--histories=3", "--seed=1"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert " histories" in done.stdout
