"""What the tests of the learned game share. They need its own environment: `make test-world-model`."""

import dataclasses
import importlib.util
import os
import tempfile
from pathlib import Path

import pytest

if importlib.util.find_spec("jax") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    from functools import partial

    # What XLA has compiled is kept until the tests end, for them and the commands that they start: five seconds of each
    # training, and of its every start, are XLA's.
    compiled = tempfile.TemporaryDirectory(prefix="ray-pong-compiled-", ignore_cleanup_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

    import world_model.train  # noqa: F401, before JAX: it sets how XLA computes
    from world_model.record import RecordSettings, record
    from world_model.train_settings import TrainSettings
    from world_model.training_run import run

    @pytest.fixture(scope="session")
    def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A small recording of the table."""
        folder = tmp_path_factory.mktemp("table") / "recording"
        record(RecordSettings(out=folder, episodes=30, seed=1))
        return folder

    @pytest.fixture(scope="session")
    def atari(tmp_path_factory: pytest.TempPathFactory) -> Path:
        """A small recording of the emulator."""
        folder = tmp_path_factory.mktemp("atari") / "recording"
        record(RecordSettings(out=folder, game="atari", episodes=10, seed=1))
        return folder

    @pytest.fixture(scope="session")
    def small_training(table: Path) -> "partial[TrainSettings]":
        """Settings of a training of seconds."""
        return partial(
            TrainSettings, recording=table, updates=30, epoch_updates=10, windows=32, units=16, head_units=32
        )

    @pytest.fixture(scope="session", params=["rnn", "transformer"])
    def small_model(
        small_training: "partial[TrainSettings]",
        request: pytest.FixtureRequest,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> Path:
        """The folder of a model of either type, trained for 30 updates."""
        folder = tmp_path_factory.mktemp("model") / request.param
        run(dataclasses.replace(small_training(out=folder), model_type=request.param), tell=lambda _: None)
        return folder
