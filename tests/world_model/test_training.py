"""Training: one digest, however often it is done, on however many cores, and wherever it was interrupted."""

import dataclasses
import os
import signal
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from bitexact.cli.exits import BadInput
from world_model import files, model, recording, windows
from world_model.states import SERVE
from world_model.train_settings import TrainSettings
from world_model.training_run import run

ROOT = Path(__file__).parents[2]
quiet = lambda _: None  # noqa: E731


def digest_of(folder: Path) -> str:
    return str(files.read_json(folder / model.CONFIG)["digest"])


def command(settings: TrainSettings, *more: str) -> list[str]:
    flags = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    given = [f"--{name.replace('_', '-')}={value}" for name, value in flags.items() if value]
    return [sys.executable, "-m", "world_model", "train", *given, *more]


@pytest.mark.parametrize("model_type", ["rnn", "transformer"])
def test_trained_twice_and_on_one_core_gives_one_digest(
    small_training: "partial[TrainSettings]", tmp_path: Path, model_type: str
) -> None:
    settings = dataclasses.replace(small_training(out=tmp_path / "a"), model_type=model_type)
    run(settings, quiet)
    other = dataclasses.replace(settings, out=tmp_path / "b", epoch_updates=7)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    subprocess.run(  # compiled anew, too
        ["taskset", "-c", "0", *command(other)],
        cwd=ROOT, env=environment, check=True, timeout=200, capture_output=True,
    )  # fmt: skip
    assert digest_of(settings.out) == digest_of(other.out)


def test_killed_and_resumed_gives_the_digest_of_an_undisturbed_run(
    small_training: "partial[TrainSettings]", tmp_path: Path
) -> None:
    settings = dataclasses.replace(small_training(out=tmp_path / "whole"), updates=60)
    run(settings, quiet)
    killed = dataclasses.replace(settings, out=tmp_path / "killed")
    process = subprocess.Popen(command(killed), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("update 20"):
            process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    run(dataclasses.replace(killed, resume=True), quiet)
    assert digest_of(killed.out) == digest_of(settings.out)


def test_an_interrupt_keeps_what_is_there(small_training: "partial[TrainSettings]", tmp_path: Path) -> None:
    settings = dataclasses.replace(small_training(out=tmp_path / "run"), updates=100_000)
    process = subprocess.Popen(command(settings), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    for line in process.stdout:
        if line.startswith("update"):
            process.send_signal(signal.SIGINT)
            break
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped by SIGINT" in error
    assert model.load(settings.out).training["updates"] >= 10


def test_no_window_crosses_a_serve_and_none_is_of_a_heldout_game(table: Path) -> None:
    training = recording.read(table, "training")
    _, steps = windows.prepared(training, gate=True)
    batches = windows.Batches(steps, seed=0, windows=200, length=16)
    assert len(steps) == sum(len(one.actions) - int(one.events[:, SERVE].sum()) for one in training.episodes)
    for update in range(20):
        starts = batches(update)
        assert (starts >= steps.first[starts]).all()
        assert (starts + 16 <= steps.end[starts]).all()
    assert (batches(3) == batches(3)).all()
    assert (batches(3) != batches(4)).any()


def test_a_model_reads_back_as_written(small_model: Path, tmp_path: Path) -> None:
    first = model.load(small_model)
    model.save(tmp_path / "copy", first)
    second = model.load(tmp_path / "copy")
    assert second.layout == first.layout
    assert all((second.arrays()[name] == array).all() for name, array in first.arrays().items())
    assert sum(path.stat().st_size for path in small_model.glob("model.json")) < 1 << 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"updates": 0}, {"learning_rate": 2.0}, {"window_steps": 1}, {"units": 2000}, {"device": "cuda"}, {"seed": -1},
        {"model_type": "transformer", "units": 18}, {"recording": Path("/nowhere")}, {"episodes": 0},
    ],
)  # fmt: skip
def test_bad_settings_are_refused(
    small_training: "partial[TrainSettings]", tmp_path: Path, wrong: dict[str, object]
) -> None:
    settings = dataclasses.replace(small_training(out=tmp_path / "run"), **wrong)
    with pytest.raises(BadInput):
        run(settings, quiet)


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(
    small_training: "partial[TrainSettings]", small_model: Path
) -> None:
    with pytest.raises(BadInput, match="--resume"):
        run(small_training(out=small_model), quiet)
    with pytest.raises(BadInput, match="other settings"):
        run(small_training(out=small_model, resume=True, seed=9), quiet)


@pytest.mark.parametrize("at", np.linspace(0.0, 1.0, 12, endpoint=False).tolist())
@pytest.mark.parametrize("name", [model.WEIGHTS, model.CONFIG])
def test_a_damaged_model_is_named(small_model: Path, tmp_path: Path, name: str, at: float) -> None:
    import shutil

    folder = tmp_path / "copy"
    shutil.copytree(small_model, folder)
    data = (folder / name).read_bytes()
    place = int(at * len(data))
    for bad in (data[:place], data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]):
        (folder / name).write_bytes(bad)
        with suppress(BadInput) if name == model.CONFIG else pytest.raises(BadInput, match=name):
            model.load(folder)
