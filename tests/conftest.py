"""What the tests share."""

import importlib.util
import json
import signal
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import GOLDEN_SETTINGS, finished
from hypothesis import settings
from once import made_once

settings.register_profile("no deadline", deadline=None)  # no test looks at how long anything takes
settings.load_profile("no deadline")

# A program in the background, or under nohup, hands signals on as ignored; what tests start is to hear them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

collect_ignore = [] if importlib.util.find_spec("pettingzoo") else ["rllib_worker"]  # `make test-rllib` runs those


class FinishedRun(NamedTuple):
    """A run that ended by itself."""

    directory: Path
    out: str
    err: str


@pytest.fixture(scope="session")
def golden_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """Two updates of three rollouts by three actors, in which nothing goes wrong. Not to be altered."""

    def make(folder: Path) -> None:
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in GOLDEN_SETTINGS.items()]
        flags += ["--updates=2", "--actors=3", "--checkpoint-every=1"]
        done = finished(f"--run-dir={folder / 'run'}", *flags)
        assert done.returncode == 0, done.stderr
        (folder / "said.json").write_text(json.dumps([done.stdout, done.stderr]))

    folder = made_once("golden", tmp_path_factory, make)
    return FinishedRun(folder / "run", *json.loads((folder / "said.json").read_text()))
