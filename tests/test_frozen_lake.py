"""The example of another loop does what it shows: killed, resumed, with more or fewer actors, one digest."""

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from commands import ROOT, finished, lines, running
from tidy import imports, sources

from bitexact.cli.exits import Differs
from examples import lake, loop

LAKE = "examples.frozen_lake"
UPDATES = 10


@pytest.fixture(scope="module")
def digests() -> list[str]:
    """What every run must come to: computed here, one rollout after the other."""
    problem, found = lake.problem(seed=0), []
    state, game = problem.first_state, problem.make_game()
    for _ in range(UPDATES):
        results = {key: problem.task.run(game, state.weights, key) for key in problem.keys_after(state)}
        state = problem.learn(state, results)
        found.append(state.digest())
    return found


def recorded(run: Path) -> list[str]:
    return [line["weights_digest"] for line in lines(run / "metrics.jsonl")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Finished runs, by the number of actors. Not to be altered."""
    found = {actors: tmp_path_factory.mktemp("lake") / "run" for actors in (1, 3)}
    for actors, run in found.items():
        done = finished(str(run), f"--updates={UPDATES}", f"--actors={actors}", program=LAKE)
        assert done.returncode == 0, done.stderr
    return found


@pytest.mark.parametrize("actors", [1, 3])
def test_the_number_of_actors_changes_nothing(runs, digests, actors):
    assert recorded(runs[actors]) == digests
    loop.replay(runs[actors], lake.problem(seed=0))


@pytest.mark.slow
def test_killed_with_its_actors_it_goes_on_to_the_same_digests(tmp_path, digests):
    run = tmp_path / "run"
    with running(str(run), "--updates=100000", program=LAKE) as training:
        training.wait_for_update(1)
        os.kill(next(number for number, line in training.processes().items() if "ray::Walker" in line), signal.SIGKILL)
        training.wait_for(lambda: "is lost" in training.out, "word of a lost actor")
        training.wait_for_update(len(recorded(run)) + 2)  # and then the driver is killed, too
    before = len(recorded(run))
    done = finished(str(run), f"--updates={before + 2}", program=LAKE)
    assert done.returncode == 0, done.stderr
    assert recorded(run)[: len(digests)] == digests[: before + 2]
    loop.replay(run, lake.problem(seed=0))


def test_a_digest_that_is_not_the_recorded_one_is_found(runs, tmp_path):
    run = Path(shutil.copytree(runs[3], tmp_path / "run"))
    altered = (run / "metrics.jsonl").read_text().replace(recorded(run)[1], "0" * 64)
    (run / "metrics.jsonl").write_text(altered)
    with pytest.raises(Differs, match="update 2"):
        loop.replay(run, lake.problem(seed=0))


def test_the_walkers_learn():
    problem, wins = lake.problem(seed=0), []
    state, game = problem.first_state, problem.make_game()
    for _ in range(40):
        results = {key: problem.task.run(game, state.weights, key) for key in problem.keys_after(state)}
        wins.append(sum(record.reward for _, record in results.values()))
        state = problem.learn(state, results)
    assert wins[-1] > 10 * wins[0]


def test_it_needs_the_kit_alone():
    """What others copy: nothing of the trainer."""
    examples = [source for source in sources(ROOT) if source.path.startswith("examples/")]
    needed = {module.partition(".")[0] for source in examples for module in imports(source)} - sys.stdlib_module_names
    assert needed == {"ale_py", "antithesis", "bitexact", "examples", "gymnasium", "numpy", "ray", "tyro"}
