"""Tracking, as its readers see it: TensorBoard's own event reader, a real MLflow server, and one that is dead."""

import dataclasses
import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, closed_port, command, digests_without_ray, finished, lines, recorded_digests, running
from real_runs import ends, is_one_sentence
from small_runs import train

import track
from bitexact.reporting import beside
from bitexact.storage import config
from training.charts import CHARTS
from training.settings import read_settings

pytest_plugins = ["real_runs"]

TRACK = ROOT / "track.py"
CHEAP = {"batch_size": 2, "hidden_units": 2}
CHEAP_FLAGS = ("--batch-size=2", "--hidden-units=2", "--actors=1")


def scalars(run: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard reads: name, update, value."""
    events = reader(run)
    return {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}


def reader(run: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    events.Reload()
    return events


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """A real one, with a database and a folder for files."""
    port = closed_port()
    uri = f"http://127.0.0.1:{port}"
    words = [sys.executable, "-m", "mlflow", "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    words += [f"--backend-store-uri=sqlite:///{folder}/mlflow.db", f"--artifacts-destination={folder}/artifacts"]
    with command(words) as server:

        def answers() -> bool:
            try:
                return urllib.request.urlopen(f"{uri}/health", timeout=1).status == 200
            except OSError:
                return False

        server.wait_for(answers, "MLflow's server")
        yield uri


# ---- a run that is there ----------------------------------------------------------------------------------------


def test_tensorboard_reads_what_the_ledger_says(run):
    assert ends(track.main, run, "--tensorboard").code == 0
    found, recorded = scalars(run), lines(run / "metrics.jsonl")
    assert set(found) == set(CHARTS.scalars(recorded[0]))
    assert {name.split("/")[0] for name in found} == {"reward", "learning", "points", "pace", "faults"}
    for name, key in {"reward/mean": "reward_mean", "points/won": "points_won", "learning/loss": "loss"}.items():
        assert found[name] == {line["update"]: pytest.approx(line[key], rel=1e-6) for line in recorded}


def test_tensorboard_shows_the_settings_as_text(run):
    ends(track.main, run, "--tensorboard")
    events = reader(run)
    (tag,) = events.Tags()["tensors"]
    (text,) = events.Tensors(tag)[0].tensor_proto.string_val
    assert f"| batch_size | {config.read(run)['settings']['batch_size']} |" in text.decode()


def test_nothing_is_shown_twice(run):
    ends(track.main, run, "--tensorboard")
    with (run / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({**lines(run / "metrics.jsonl")[-1], "update": 5}) + "\n" + '{"update": 6, "rew')
    ends(track.main, run, "--tensorboard")
    (steps,) = {tuple(event.step for event in reader(run).Scalars("reward/mean"))}
    assert steps == (1, 2, 3, 4, 5)


@pytest.mark.slow
def test_a_game_is_filmed_now_and_then(run):
    assert ends(track.main, run, "--video-every=3").code == 0
    (image,) = reader(run).Images("game")
    assert image.step == 4  # the checkpoints are of updates 2 and 4
    assert image.encoded_image_string.startswith(b"GIF89a")
    assert len(image.encoded_image_string) > 50_000


@pytest.mark.parametrize("arguments", [[], ["--mlflow=localhost:5000"], ["--video-every=0"]])
def test_bad_arguments_are_one_sentence(run, arguments):
    ending = ends(track.main, run, *arguments)
    assert ending.code == 2
    assert is_one_sentence(ending.sentence)


def test_without_the_package_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setattr(beside.importlib.util, "find_spec", lambda name: None)
    ending = ends(track.main, run, "--mlflow=http://localhost:5000")
    assert ending.code == 2
    assert "requirements-mlflow.txt" in ending.sentence


def test_a_server_that_is_dead_is_told_of_and_what_it_missed_comes_later(run, tmp_path):
    dead = ends(track.main, run, f"--mlflow=http://127.0.0.1:{closed_port()}")
    assert dead.code == 3
    assert is_one_sentence(dead.sentence)
    assert "4 updates" in dead.sentence
    store = tmp_path / "store"
    assert ends(track.main, run, f"--mlflow=file://{store}").code == 0
    (metric,) = store.rglob("metrics/reward/mean")
    assert len(metric.read_text().splitlines()) == 4


def test_another_store_is_shown_all_of_it(run, tmp_path):
    for store in (tmp_path / "one", tmp_path / "two"):
        assert ends(track.main, run, f"--mlflow=file://{store}").code == 0
        (metric,) = store.rglob("metrics/reward/mean")
        assert len(metric.read_text().splitlines()) == 4


def test_a_run_that_is_overwritten_takes_with_it_what_was_shown(run):
    ends(track.main, run, "--tensorboard")
    (run / "tensorboard" / "mine.txt").write_text("not a run's")
    settings = dataclasses.replace(read_settings(run), run_dir=run, overwrite=True, updates=1)
    train(settings)
    ends(track.main, run, "--tensorboard")
    assert scalars(run)["reward/mean"].keys() == {1}
    assert (run / "tensorboard" / "mine.txt").exists()


# ---- beside the training ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_is_shown_to_both_while_it_trains_and_after_a_resume(tmp_path):
    from mlflow import MlflowClient

    run = tmp_path / "run"
    with mlflow_server(tmp_path) as uri:
        flags = ("--tensorboard", f"--mlflow={uri}", f"--run-dir={run}")
        with running(*CHEAP_FLAGS, *flags, "--updates=100000") as driver:
            client = MlflowClient(tracking_uri=uri)
            driver.wait_for(lambda: shown(client) >= 2, "two updates on the server")
            driver.kill()
        last = len(recorded_digests(run)) + 2
        done = finished("--resume", f"--run-dir={run}", f"--updates={last}")
        assert (done.returncode, done.stderr) == (0, "")
        (experiment,) = client.search_experiments(filter_string="name = 'ray-pong'")
        (logged,) = client.search_runs([experiment.experiment_id])
        history = client.get_metric_history(logged.info.run_id, "reward/mean")
        artifacts = {one.path for one in client.list_artifacts(logged.info.run_id)}
    assert recorded_digests(run) == digests_without_ray(last, **CHEAP)
    rewards = {line["update"]: line["reward_mean"] for line in lines(run / "metrics.jsonl")}
    assert {metric.step: metric.value for metric in history} == rewards
    assert scalars(run)["reward/mean"].keys() == rewards.keys()
    assert logged.data.params["batch_size"] == "2"
    assert artifacts == {"checkpoints", "report.html"}
    assert logged.info.status == "FINISHED"


def shown(client: Any) -> int:
    """How many updates the server has."""
    experiment = client.get_experiment_by_name("ray-pong")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return len(client.get_metric_history(runs[0].info.run_id, "reward/mean")) if runs else 0


@pytest.mark.slow
def test_a_dead_server_neither_stops_nor_changes_a_training_and_is_said_once(tmp_path):
    run = tmp_path / "run"
    done = finished(*CHEAP_FLAGS, f"--mlflow=http://127.0.0.1:{closed_port()}", f"--run-dir={run}", "--updates=6")
    assert done.returncode == 0
    assert recorded_digests(run) == digests_without_ray(6, **CHEAP)
    assert len(re.findall("training goes on", done.stderr)) == 1
