"""A run goes on with the code that it was made with, or with other code that was accepted."""

import json
import os
import shlex
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from commands import ROOT, digests_without_ray, finished, recorded_digests, running, typed
from small_runs import Diary, go_on, small_settings, train

from bitexact.cli.exits import BadInput
from pong.evaluation import EvaluationTask, evaluation_id
from pong.evaluation_summary import summary
from pong.game import Pong
from training import deciding_code, saved_policy


@pytest.fixture
def changed(monkeypatch):
    """RMSProp's file, as if somebody had edited it."""
    here = {**deciding_code.at_start(), "training.rmsprop": "0123456789abcdef"}
    return lambda: monkeypatch.setattr(deciding_code, "at_start", lambda: here)


def test_the_files_on_the_path_to_the_weights_decide_and_what_shows_a_run_does_not():
    names = deciding_code.modules()
    assert {"policy", "pong.game", "pong.play", "training.adam", "bitexact.determinism.exact_math"} <= set(names)
    assert not {"training.recorder", "training.loop", "bitexact.cluster.pool"} & set(names)


def test_a_run_is_not_resumed_with_other_code_unknowingly(tmp_path, changed):
    settings = small_settings(tmp_path / "run", updates=2)
    train(settings)
    changed()
    with pytest.raises(BadInput, match=r"made with other code \(training.rmsprop\).*--accept-new-code\.$"):
        go_on(replace(settings, updates=4))


def test_other_code_that_is_accepted_is_in_the_ledger_and_in_the_config(tmp_path, changed):
    settings = small_settings(tmp_path / "run", updates=2)
    train(settings)
    changed()
    diary = Diary()
    go_on(replace(settings, updates=4, accept_new_code=True), diary)
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert "goes on with other code than before (training.rmsprop), which was accepted" in events
    assert diary.committed == [3, 4]
    go_on(replace(settings, updates=5), Diary())  # it is the run's code now


def test_the_code_of_a_run_of_an_earlier_version_is_not_known(tmp_path, changed):
    settings = small_settings(tmp_path / "run", updates=2)
    train(settings)
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    del config["code"], config["machine"]
    path.write_text(json.dumps(config))
    changed()
    go_on(replace(settings, updates=4))


@pytest.mark.slow
def test_where_a_command_is_started_other_files_are_not_imported(tmp_path):
    """Another checkout's files: one constant of the game is another there. Seen before: another digest, exit code 0."""
    shutil.copytree(ROOT / "pong", tmp_path / "pong")
    game = tmp_path / "pong" / "play.py"
    game.write_text(game.read_text() + "\nraise ImportError('another checkout')\n")
    flags = ("--preset=reinforce", "--updates=1", "--batch-size=2", "--hidden-units=8", "--actors=2")
    digests = []
    for name, folder in (("here", ROOT), ("there", tmp_path)):
        run = tmp_path / name
        line = shlex.join(["python", str(ROOT / "driver.py"), *flags, f"--run-dir={run}"])
        with typed(line, folder, PYTHONPATH=str(folder)) as driver:
            assert driver.wait() == 0, driver.err
        digests.append(json.loads((run / "metrics.jsonl").read_text())["weights_digest"])
    assert digests[0] == digests[1]
    assert_evaluated_and_replayed(tmp_path / "there", tmp_path)


def assert_evaluated_and_replayed(run: Path, folder: Path) -> None:
    """From a folder that holds other files: the same games as this process plays, and every bit as recorded."""
    weights = saved_policy.load(run, print).weights
    evaluated = f"evaluate.py {run} --games=1 --actors=1 --json={folder / 'result.json'}"
    for line in (evaluated, f"replay.py {run} --all"):
        with typed(f"python {ROOT}/{line}", folder, PYTHONPATH=str(folder)) as command:
            assert command.wait() == 0, command.err
    _, result = EvaluationTask(greedy=False).run(Pong(), weights, evaluation_id(seed=0, index=0))
    assert json.loads((folder / "result.json").read_text()) == summary([result])


@pytest.mark.slow
def test_code_edited_while_it_trains_is_refused_by_name_and_no_bit_comes_of_it(tmp_path):
    """An actor is lost after the edit: the one that replaces it has imported the new file."""
    checkout, run = tmp_path / "checkout", tmp_path / "run"
    left_out = shutil.ignore_patterns(".*", "tests", "docs", "runs", "pretrained", "__pycache__")
    shutil.copytree(ROOT, checkout, ignore=left_out)
    settings = {"preset": "reinforce", "learning_rate": 1e-3, "batch_size": 2, "hidden_units": 8}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    with running(*flags, "--actors=2", f"--run-dir={run}", program=checkout / "driver.py") as driver:
        driver.wait_for_update(1)
        with (checkout / "pong" / "play.py").open("a") as file:
            file.write("\nEDITED = True\n")
        actor = next(process for process, line in driver.processes().items() if "ray::PongEnv" in line)
        os.kill(actor, signal.SIGKILL)
        driver.wait_for(lambda: "is not this program's (pong.play)" in driver.out, "a refusal by the file's name")
        driver.send(signal.SIGTERM)
        assert driver.wait() == 143, driver.err
    done = finished("--resume", f"--run-dir={run}", program=checkout / "driver.py")
    assert done.returncode == 2
    assert "other code (pong.play)" in done.stderr
    recorded = recorded_digests(run)
    assert recorded == digests_without_ray(len(recorded), **settings)
