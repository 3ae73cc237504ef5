"""Where a model is: a folder, or a run of MLflow, from which it is fetched once and kept.

Fetched models lie under artifacts/, each in a folder of its run, with the digests of their files as they came: one that
was altered since is refused.
"""

import hashlib
import importlib
import logging
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput
from world_model import files
from world_model.model import CONFIG, WEIGHTS

ARTIFACTS = Path("artifacts")
POLICY = Path(__file__).parents[1] / "pretrained" / "pong.npz"  # the trainer's, that comes with the project
_RUN = re.compile(r"runs:/([0-9a-f]{32})/(\w[\w.-]*)")
_SERVER = re.compile(r"(https?|file|sqlite)://.+")
_FETCHED = "fetched.json"  # name of each file -> SHA-256 of it as it came


def local_database() -> str:
    """Of MLflow, where no other place is named. Absolute: its client keeps open what it has opened by that name."""
    return f"sqlite:///{(ARTIFACTS / 'mlflow.db').absolute()}"


def expect_a_place(uri: str | None) -> None:
    """Raise BadInput for a place of MLflow's that cannot be one, or where MLflow is not installed."""
    if uri is None:
        return
    if not _SERVER.fullmatch(uri):
        raise BadInput(f"--mlflow is http://HOST:PORT or sqlite:///FILE, not {uri}.")
    database = Path(uri.removeprefix("sqlite:///"))
    if uri.startswith("sqlite:") and uri != local_database() and not database.parent.is_dir():
        raise BadInput(f"--mlflow {uri} names a file in a folder that is not there.")
    import_mlflow()


def resolve(model_path: str, server: str | None = None) -> Path:
    """The folder of a model; of MLflow's, fetched from a server, or that which the environment names.

    Raises BadInput.
    """
    if not model_path.startswith("runs:"):
        folder = Path(model_path)
        if not folder.is_dir():
            raise BadInput(f"there is no model {model_path}: name a folder with a model.json, or runs:/ID/name.")
        return folder
    named = _RUN.fullmatch(model_path)
    if not named:
        raise BadInput(f"{model_path} is no model of MLflow: it is written runs:/ID/name, with 32 digits of ID.")
    folder = ARTIFACTS / named[1] / named[2]
    if not folder.is_dir():
        _fetch(model_path, named[1], named[2], folder, server)
    _expect_as_fetched(model_path, folder)
    return folder


def _fetch(model_path: str, run: str, name: str, folder: Path, server: str | None) -> None:
    """Fetch both files of a model into a folder, which is there whole or not at all."""
    client = import_mlflow().MlflowClient(server or os.environ.get("MLFLOW_TRACKING_URI", local_database()))
    ARTIFACTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ARTIFACTS, prefix=".fetching-") as place:
        came = Path(place) / "model"
        came.mkdir()
        try:
            sizes = {Path(one.path).name: one.file_size for one in client.list_artifacts(run, name)}
            if not {CONFIG, WEIGHTS} <= sizes.keys():
                raise BadInput(f"{model_path} is no model: it has no {CONFIG} and {WEIGHTS}.")
            if max(sizes[CONFIG], sizes[WEIGHTS]) > files.LARGEST_MODEL:
                raise BadInput(f"{model_path} is larger than any model of this game.")
            for one in (CONFIG, WEIGHTS):
                Path(client.download_artifacts(run, f"{name}/{one}", place)).rename(came / one)
        except BadInput:
            raise
        except Exception as error:  # whatever MLflow and what it stands on raise
            raise BadInput(
                f"{model_path} cannot be fetched ({(str(error) or type(error).__name__).splitlines()[0].rstrip('.')}): "
                f"is MLFLOW_TRACKING_URI right?"
            ) from None
        files.write_json(came / _FETCHED, {one: _sha256(came / one) for one in (CONFIG, WEIGHTS)})
        folder.parent.mkdir(exist_ok=True)
        came.rename(folder)


def _expect_as_fetched(model_path: str, folder: Path) -> None:
    known = files.read_json(folder / _FETCHED)
    for name in (CONFIG, WEIGHTS):
        path = folder / name
        if not path.is_file() or _sha256(path) != known.get(name):
            raise BadInput(f"{path} is not the file that was fetched from {model_path}: delete {folder}.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def import_mlflow() -> Any:
    """MLflow, which is not needed otherwise. Raises BadInput."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    try:
        mlflow = importlib.import_module("mlflow")
    except ImportError:
        raise BadInput("MLflow is not installed: pip install --requirement requirements-world-model-dev.txt.") from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table that it makes
    return mlflow
