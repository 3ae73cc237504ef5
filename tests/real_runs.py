"""Small real runs without Ray, in processes of their own: what the tests of replay, compare, film and report share.

The games are real, the networks tiny. Two runs of the same settings are made once a session: one that nothing
disturbs, and one that is killed after it committed an update and before its next checkpoint, and then resumed. Each
process leaves a file of what it saw of the properties. Tests that alter a run take a copy of it.

    pytest_plugins = ["real_runs"]

    def test_a_run_agrees_with_itself(run: Path) -> None:
        assert ends(replay.main, run, "--all").code == 0

(For pytest: PYTEST_DONT_REWRITE, as tests import this module before it is a plugin.)
"""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from once import made_once
from small_runs import Diary, train

from bitexact.cli import exits
from bitexact.cli.exits import Ended
from bitexact.cli.process_environment import LOCAL_OUTPUT, PROPERTIES_FOLDER
from bitexact.determinism.arrays import Arrays
from bitexact.storage.checkpoints import load
from bitexact.storage.state import State
from pong.game import Pong
from pong.play import RolloutId
from training.initial_state import from_seed
from training.rollout_record import RolloutRecord
from training.rollout_task import task_of
from training.settings import REINFORCE, Settings, of_preset

ROOT = Path(__file__).resolve().parent.parent
UPDATES, BATCH_SIZE, CHECKPOINT_EVERY = 4, 2, 2
KILLED_AFTER = 3  # its next checkpoint would have been that of update 4
TRAINING_TIMEOUT_S = 120
Line = dict[str, Any]


def real_settings(directory: Path, **changes: Any) -> Settings:
    """Four updates of two games each, a checkpoint every second one."""
    small: dict[str, Any] = {"hidden_units": 2, "batch_size": BATCH_SIZE, "updates": UPDATES, "learning_rate": 1e-3}
    return of_preset(REINFORCE, **small | {"checkpoint_every": CHECKPOINT_EVERY, "run_dir": directory} | changes)


# ---- the runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two runs: `undisturbed`, and `killed`."""

    def make(folder: Path) -> None:
        processes = {how: training(folder / how, how) for how in ("undisturbed", "killed")}
        ends = {how: one.wait(TRAINING_TIMEOUT_S) for how, one in processes.items()}
        assert ends == {"undisturbed": 0, "killed": -signal.SIGKILL}

    return made_once("begun", tmp_path_factory, make)


@pytest.fixture(scope="session")
def undisturbed(begun: Path) -> Path:
    """A finished run. Not to be altered: see `run`."""
    return begun / "undisturbed"


@pytest.fixture(scope="session")
def resumed(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the same settings that was killed and resumed, and did an update again. Not to be altered."""

    def make(folder: Path) -> None:
        directory = copied(begun / "killed", folder / "run")
        assert [line["update"] for line in lines(directory / "metrics.jsonl")] == list(range(1, KILLED_AFTER + 1))
        assert training(directory, "resumed").wait(TRAINING_TIMEOUT_S) == 0

    return made_once("resumed", tmp_path_factory, make) / "run"


@pytest.fixture(scope="session")
def failed(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but the record of the update that it did again had been altered. Not to be altered further."""

    def make(folder: Path) -> None:
        directory = copied(begun / "killed", folder / "run")
        alter(directory / "metrics.jsonl", lambda line: line.update(weights_digest="0" * 64), update=KILLED_AFTER)
        assert training(directory, "failed").wait(TRAINING_TIMEOUT_S) == 1

    return made_once("failed", tmp_path_factory, make) / "run"


@pytest.fixture
def run(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed run, to alter."""
    return copied(undisturbed, tmp_path / "run")


def copied(run: Path, to: Path) -> Path:
    """A copy of a run."""
    shutil.copytree(run, to)
    return to


def state_after(run: Path, update: int) -> State:
    """What the checkpoint of an update holds."""
    return load(run / "checkpoints" / f"update-{update:08d}.npz", from_seed(real_settings(run)))


def training(directory: Path, how: str) -> subprocess.Popen:
    """A process that trains, and leaves what it saw of the properties in the run."""
    environment = os.environ | {PROPERTIES_FOLDER: str(directory / "properties"), "PYTHONPATH": str(ROOT)}
    environment.pop(LOCAL_OUTPUT, None)  # it would win
    command = [sys.executable, __file__, str(directory), how]
    return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)


class _Killed(Diary):
    """Dies after an update is committed, before anything else is done."""

    def update(self, metrics: Any) -> None:
        if metrics["update"] == KILLED_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)


def _main(directory: str, how: str) -> None:
    game = Pong()

    def rollout(settings: Settings, weights: Arrays, update: int, index: int) -> tuple[Arrays, RolloutRecord]:
        return task_of(settings).run(game, weights, RolloutId(settings.seed, update, index))

    settings = real_settings(Path(directory), resume=how in ("resumed", "failed"))
    train(settings, _Killed() if how == "killed" else Diary(), rollout=rollout)


# ---- their files ------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[Line]:
    """The lines of a ledger's file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def alter(path: Path, changes: Callable[[Line], Any], **where: int) -> None:
    """Change those lines of a ledger's file that say what `where` says."""
    altered = lines(path)
    chosen = [line for line in altered if all(line[name] == value for name, value in where.items())]
    assert chosen
    for line in chosen:
        changes(line)
    path.write_text("".join(json.dumps(line) + "\n" for line in altered))


def damage(path: Path, number: int) -> None:
    """Make a line, counted from 0, unreadable."""
    every = path.read_bytes().splitlines(keepends=True)
    every[number] = b"#" * 20 + every[number][20:]
    path.write_bytes(b"".join(every))


def alter_config(run: Path, **settings: Any) -> None:
    """Change settings in config.json, and nothing else."""
    path = run / "config.json"
    config = json.loads(path.read_text())
    config["settings"] |= settings
    path.write_text(json.dumps(config))


# ---- commands ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ending:
    """How a command ended."""

    code: int
    output: str
    sentence: str  # on standard error, as `exits.run` has it


def ends(main: Callable[[Sequence[str]], None], *arguments: object) -> Ending:
    """Run an entry point's main in this process, as `exits.run` does."""
    output, errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    code, sentence = 0, ""
    with redirect_stdout(output), redirect_stderr(errors):
        try:
            main([str(argument) for argument in arguments])
        except Ended as end:
            code, sentence = end.exit_code, str(end)
    output.seek(0)
    return Ending(code, output.read() + errors.getvalue(), sentence)


def is_one_sentence(text: str) -> bool:
    """Whether a text is one line that ends as a sentence does."""
    return text.endswith(".") and "\n" not in text and "Traceback" not in text


if __name__ == "__main__":
    exits.run(lambda arguments: _main(*arguments))
