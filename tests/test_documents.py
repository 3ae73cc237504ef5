"""Every command in the documents is run by a test, or has a reason why not. Those of the README are run in order.

They are run as they stand, in a copy of the repository, as a new user would: only counts of updates and games are
smaller, and what is to be killed is killed as soon as it has got somewhere.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import ROOT, commands_of, lines, typed

TESTS = ROOT / "tests"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = "test_the_commands_of_the_readme_in_order"
JOINS = "test_a_driver_joins_and_finds_the_workers_cpus"
CI = "not run: it is what runs the tests"
# How each command is run: by which test, with other values perhaps; or "not run" and why.
HOW = {
    "make train": "not run: it installs from a package index, as .ci/run does before the tests",
    "make test": CI,
    "make test-all": CI,
    "make check": CI,
    "bash .ci/run": CI,
    "python driver.py --updates=5 --actors=1 --run-dir=runs/a": README,
    "python driver.py --updates=5 --actors=7 --run-dir=runs/b": README,
    "python compare.py runs/a runs/b": README,
    "python driver.py --updates=40 --run-dir=runs/calm": README,
    "python driver.py --updates=40 --run-dir=runs/killed &": README,
    "sleep 20; pkill -9 -f ray::PongEnv": README,
    "sleep 10; pkill -9 -f driver.py": README,
    "python driver.py --resume --run-dir=runs/killed": README,
    "python compare.py runs/calm runs/killed": README,
    "python replay.py runs/killed --update 17": README,
    "python replay.py runs/killed --update 17 --rollout 3 --video game.mp4 --trace game.csv": README,
    "python replay.py runs/killed --all": README,
    "python evaluate.py runs/killed --games 100 --json result.json --video game.mp4": README,
    "python evaluate.py pretrained/pong.npz --video pong.mp4": README,
    "python evaluate.py pretrained/pong.npz --games 2 --watch": "test_a_game_is_watched_in_a_terminal_of_80_columns",
    "python plot.py runs/a runs/b --out curves.png": README,
    "python track.py runs/a --tensorboard": README,
    "tensorboard --logdir runs": "test_tensorboard_reads_what_the_ledger_says",
    "python report.py runs/killed --html report.html": README,
    "python -m workload.local_antithesis --seed 7 --minutes 3 --out runs/chaos": (
        "test_a_planted_bug_fails_the_property_that_names_it"
    ),
    "SNOUTY_CONTAINER_ENGINE=docker snouty validate deploy/antithesis --timeout 5m": (
        "not run: it takes ten minutes to install"
    ),
    "snouty launch --config deploy/antithesis --source ray-pong --test-name ray-pong --recipients you@example.com": (
        "not run: it needs an account with the platform"
    ),
    "make bench": "test_a_measure_on_ray_gives_its_figures",
    "make soak": "test_a_measure_on_ray_gives_its_figures",
    "python -m benchmarks.run --only rollout updates": "test_a_measure_on_ray_gives_its_figures",
    "python -m benchmarks.run --only equal-bits": "test_measures_without_ray_give_their_figures",
    "ray get-auth-token --generate": "not run: it would put a file into the home of who runs the tests",
    "export RAY_AUTH_MODE=token": JOINS,
    "ray start --head --port=6379 --num-cpus=0 --disable-usage-stats": JOINS,
    "ray start --address=HEAD:6379 --num-cpus=8 --disable-usage-stats": JOINS,
    "python driver.py --address=HEAD:6379 --run-dir=/shared/pong": JOINS,
    "ray job submit --address=http://127.0.0.1:8265 --working-dir=. -- python driver.py --address=auto "
    "--run-dir=/shared/pong": "test_a_job_is_stopped_and_goes_on",
    "ray stop": "not run: it would stop all that Ray runs on this machine",
    "docker compose up --detach": "test_it_trains",
    "docker compose logs --follow trainer": "test_the_log_tells_what_happens_in_plain_lines",
    "docker compose down --volumes": "test_down_with_volumes_forgets",
    "pytest tests/test_one_digest.py": CI,
    "python driver.py --updates=5 --run-dir=runs/here": README,
    "python compare.py runs/here runs/there": README,
    "python replay.py runs/there --all": README,
    "python -m workload.faults": "test_training_under_faults_ends_in_the_digest_without_them",
    "python -m workload.faults --faults=500 --seed=7 --updates=120": (
        "test_training_under_faults_ends_in_the_digest_without_them"
    ),
    "python -m workload.faults --faults=500 --seed=8 --updates=120 --preset=ppo": (
        "test_training_under_faults_ends_in_the_digest_without_them"
    ),
    "python -m workload.faults --faults=76 --seed=9 --updates=60 --preset=ppo --profile=published": (
        "test_training_under_faults_ends_in_the_digest_without_them"
    ),
    "python -m workload.faults --profile=published": "test_a_published_deck_has_the_published_proportions",
    "python -m workload.faults --faults=500 --minutes=30": (
        "test_training_under_faults_ends_in_the_digest_without_them"
    ),
    "pytest -s tests/storage/test_crashes.py tests/storage/test_checkpoints.py tests/storage/test_ledger.py "
    '| grep -E "survived|refused|stopped"': CI,
    "pytest -s tests/test_bad_input.py": CI,
    "CKPT_CHAOS_POINTS=40 pytest -s tests/test_foreign_referee.py": CI,
    "PYTHONPATH=.:tests python tests/histories.py --histories=10000 --seed=1": "test_a_campaign_says_what_it_met",
    "PYTHONPATH=.:tests python tests/kill_matrix.py --most=400": "test_the_table_of_bugs_says_what_finds_one",
    "python -m examples.frozen_lake runs/lake --updates 60": "test_the_number_of_actors_changes_nothing",
    "pkill -9 -f frozen_lake": "test_killed_with_its_actors_it_goes_on_to_the_same_digests",
    "python -m examples.frozen_lake runs/lake --replay": "test_a_digest_that_is_not_the_recorded_one_is_found",
}


def test_every_command_is_run_or_has_a_reason():
    in_documents = {line for document in DOCUMENTS for line in commands_of(document)}
    in_documents -= {line for line in in_documents if line.startswith("RAY_testing_rpc_failure=")}  # a value to set
    assert in_documents == HOW.keys()


def test_the_tests_that_run_them_are_there():
    there = set(re.findall(r"^def (test_\w+)", "".join(path.read_text() for path in TESTS.rglob("test_*.py")), re.M))
    assert {how for how in HOW.values() if not how.startswith("not run: ")} <= there


def test_the_tests_that_documents_name_are_there():
    there = set(re.findall(r"^def (test_\w+)", "".join(path.read_text() for path in TESTS.rglob("test_*.py")), re.M))
    for document in DOCUMENTS:
        named = set(re.findall(r"`(test_\w+)`", document.read_text()))
        assert named <= there, document.name


def test_every_link_leads_somewhere():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), f"{document.name}: {target}"


# ---- the README, as a new user ------------------------------------------------------------------------------------

UPDATES = 6


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What git would give a new user, with this test's Python as theirs."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.splitlines():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    return tmp_path / "copy"


def smaller(line: str) -> str:
    """A command with other counts."""
    for whole, part in {
        "=40": f"={UPDATES}",
        "--update 17": "--update 5",
        "--games 100": "--games 2",
        "--video pong": "--games 2 --video pong",
    }.items():
        line = line.replace(whole, part)
    return line


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_commands_of_the_readme_in_order(copy):
    said = {}
    for line in (line for line in commands_of(ROOT / "README.md") if HOW[line] == README):
        if line.endswith(" &"):
            killed = kill_it(copy, smaller(line).removesuffix(" &"))
        elif "pkill" not in line:
            with typed(smaller(line), copy) as done:
                assert done.wait(300.0) == 0, (line, done.err)
                said[line] = done.out
    assert killed
    assert said["python compare.py runs/a runs/b"].startswith("equal: 5 updates")
    assert said["python compare.py runs/calm runs/killed"].startswith(f"equal: {UPDATES} updates")
    assert said["python replay.py runs/killed --all"].startswith("the same: ")
    assert lines(copy / "runs" / "killed" / "metrics.jsonl")[-1]["update"] == UPDATES
    for name in ("game.mp4", "pong.mp4", "game.csv", "result.json", "curves.png", "report.html", "runs/a/tensorboard"):
        assert (copy / name).exists()


def kill_it(copy: Path, line: str) -> bool:
    """What the README does by hand: its actors first, then the driver."""
    with typed(line, copy) as driver:
        driver.wait_for_update(1)
        for process, words in driver.processes().items():
            if "ray::PongEnv" in words:
                os.kill(process, 9)
        driver.wait_for(lambda: "is lost" in driver.out, "word of lost actors")
        driver.wait_for_update(2)
    return True
