"""Where a model is: a folder, or a run of MLflow, from which it is fetched once and kept.

Fetched models lie under artifacts/, each in a folder of its run; their digests are checked as any model's are.
"""

import importlib
import re
from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput

ARTIFACTS = Path("artifacts")
POLICY = Path(__file__).parents[1] / "pretrained" / "pong.npz"  # the trainer's, that comes with the project
_RUN = re.compile(r"runs:/([0-9a-f]{32})/([\w.-]+)")


def resolve(model_path: str) -> Path:
    """The folder of a model. Raises BadInput."""
    if not model_path.startswith("runs:"):
        folder = Path(model_path)
        if not folder.is_dir():
            raise BadInput(f"there is no model {model_path}: name a folder with a model.json, or runs:/ID/name.")
        return folder
    named = _RUN.fullmatch(model_path)
    if not named:
        raise BadInput(f"{model_path} is no model of MLflow: it is written runs:/ID/name, with 32 digits of ID.")
    folder = ARTIFACTS / named[1] / named[2]
    return folder if folder.is_dir() else _fetch(model_path, named[1], named[2])


def _fetch(model_path: str, run: str, name: str) -> Path:
    mlflow: Any = import_mlflow()
    try:
        found = mlflow.artifacts.download_artifacts(run_id=run, artifact_path=name, dst_path=str(ARTIFACTS / run))
    except Exception as error:
        raise BadInput(
            f"{model_path} cannot be fetched ({str(error).splitlines()[0]}): is MLFLOW_TRACKING_URI right?"
        ) from None
    return Path(found)


def import_mlflow() -> Any:
    """MLflow, which is not needed otherwise. Raises BadInput."""
    try:
        return importlib.import_module("mlflow")
    except ImportError:
        raise BadInput("MLflow is not installed: pip install --requirement requirements-mlflow.txt.") from None
