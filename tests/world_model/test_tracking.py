"""A training shown to MLflow with a database in a file, and to TensorBoard; and its model fetched from there."""

import contextlib
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bitexact.cli.exits import BadInput
from world_model import config_file, model, model_path, train
from world_model.dream import Dream
from world_model.model_path import ARTIFACTS, resolve
from world_model.train_settings import TrainSettings
from world_model.training_run import run


@pytest.fixture(scope="module")
def mlflow() -> object:
    return pytest.importorskip("mlflow", reason="MLflow is not installed here")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


@pytest.fixture
def logged(
    mlflow: object, here: Path, small_training: "partial[TrainSettings]", capsys: pytest.CaptureFixture[str]
) -> Iterator[str]:
    """A training logged to the local database, by the command: its model's path."""
    said = list[str]()
    settings = small_training(out=here / "run", mlflow=model_path.local_database(), tensorboard=True)
    run(settings, said.append)
    (sentence,) = (one for one in said if "runs:/" in one)
    yield sentence.rsplit(" ", 1)[1]
    assert capsys.readouterr().err == ""


def test_mlflow_has_each_epoch_and_the_model(mlflow: object, logged: str, here: Path) -> None:
    from mlflow import MlflowClient  # type: ignore[attr-defined, unused-ignore]

    client = MlflowClient(model_path.local_database())
    found = client.get_metric_history(logged.split("/")[1], "training/loss")
    lines = [json.loads(line) for line in (here / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(one.step, one.value) for one in found] == [(line["update"], line["loss"]) for line in lines]
    assert len(found) == 3
    assert {path.name for path in (here / "run" / "tensorboard").iterdir()} != set()
    assert not (here / "mlruns").exists(), "what is logged lies beside the database"
    parameters = client.get_run(logged.split("/")[1]).data.params
    assert parameters["windows"] == "32"


def test_a_model_of_mlflow_is_fetched_once_and_dreams_as_the_run_does(logged: str, here: Path) -> None:
    folder = resolve(logged)
    assert folder == ARTIFACTS / logged.split("/")[1] / "model"
    fetched, own = model.load(folder), model.load(here / "run")
    assert (Dream(fetched).reset(3) == Dream(own).reset(3)).all()
    shutil.rmtree(ARTIFACTS / "mlruns")
    (ARTIFACTS / "mlflow.db").unlink()
    assert resolve(logged) == folder, "from the cache"


@pytest.mark.parametrize("name", [model.CONFIG, model.WEIGHTS])
def test_an_altered_file_of_the_cache_is_refused_by_name(logged: str, name: str) -> None:
    path = resolve(logged) / name
    path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(BadInput, match=f"{name} is not the file that was fetched"):
        resolve(logged)
    path.unlink()
    with pytest.raises(BadInput, match=f"{name} is not the file that was fetched"):
        resolve(logged)


def test_what_mlflow_does_not_have_is_said_in_one_sentence(logged: str, here: Path) -> None:
    run_id = logged.split("/")[1]
    for path in (f"runs:/{'0' * 32}/model", f"runs:/{run_id}/other", f"runs:/{run_id}/..", f"runs:/{run_id}/../../run"):
        with pytest.raises(BadInput) as refused:
            resolve(path)
        assert "\n" not in str(refused.value)
        assert str(refused.value).endswith((".", "?"))
    assert [one.name for one in (here / "artifacts").iterdir() if one.name.startswith(".")] == []


def test_a_server_that_does_not_answer_does_not_end_the_training(
    mlflow: object, small_training: "partial[TrainSettings]", here: Path
) -> None:
    said = list[str]()
    run(small_training(out=here / "run", mlflow="http://127.0.0.1:9", updates=10), said.append)
    assert any("lacks the last 1 updates" in one for one in said), said
    assert model.load(here / "run").training["updates"] == 10


def test_the_flag_alone_asks_for_the_local_database() -> None:
    local = f"--mlflow={model_path.local_database()}"
    assert train._with_a_database(["--mlflow"]) == [local]
    assert train._with_a_database(["--mlflow", "--seed", "1"]) == [local, "--seed", "1"]
    assert train._with_a_database(["--mlflow", "http://a:1"]) == ["--mlflow", "http://a:1"]


@pytest.mark.parametrize("uri", ["localhost:5000", "ftp://a", "sqlite:///nowhere/at/all.db", ""])
def test_a_place_that_is_none_is_refused(small_training: "partial[TrainSettings]", here: Path, uri: str) -> None:
    with pytest.raises(BadInput, match="--mlflow"):
        small_training(out=here / "run", mlflow=uri).check()


# ---- a config file ----------------------------------------------------------------------------------------------


def test_a_config_files_settings_are_taken_and_the_command_line_wins(
    table: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {
        "recording": str(table), "out": "run", "updates": 20, "epoch_updates": 10, "windows": 8, "units": 8,
        "head_units": 8, "learning_rate": 1e-3, "model_type": "RNNModel", "tensorboard": False, "mlflow": None,
    }  # fmt: skip
    Path("train.json").write_text(json.dumps(said))
    train.main(["--config", "train.json", "--updates=10"])
    settings = json.loads(Path("run/config.json").read_text())["settings"]
    assert (settings["learning_rate"], settings["model_type"], settings["units"]) == (1e-3, "rnn", 8)
    assert "update 10" in capsys.readouterr().out
    assert model.load(Path("run")).training["updates"] == 10
    train.main(["--config=run/train.json", "--resume", "--updates=20"])
    assert model.load(Path("run")).training["updates"] == 20


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ('{"update": 3}', "update"), ("[]", "train.json"), ("{", "train.json"), ('{"updates": [3]}', "updates"),
        ('{"updates": "many"}', "updates"), ('{"model_type": "lstm"}', "model-type"), ('{"resume": true}', "resume"),
        ('{"config": "other.json"}', "config"), ('{"windows": 1.5}', "windows"), ('{"seed": true}', "seed"),
    ],
)  # fmt: skip
def test_a_bad_config_file_is_said_in_one_sentence(here: Path, text: str, about: str) -> None:
    Path("train.json").write_text(text)
    with pytest.raises(BadInput, match=about) as refused:
        train.main(["--config=train.json", "--recording=none", "--out=run"])
    assert "\n" not in str(refused.value)
    for gone in ("nothing.json", "."):
        with pytest.raises(BadInput), contextlib.suppress(SystemExit):
            config_file.expanded(TrainSettings, ["--config", gone])


@pytest.mark.parametrize(("name", "kind"), [("RNNModel", "rnn"), ("TransformerModel", "transformer")])
def test_other_names_of_the_networks(small_training: "partial[TrainSettings]", name: str, kind: str) -> None:
    named, plain = small_training(out=Path("run"), model_type=name), small_training(out=Path("run"), model_type=kind)
    assert named.kind == plain.kind == kind
    assert named.lasting() == plain.lasting()
