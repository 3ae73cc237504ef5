"""What a run's folder says of it: its config, with which it goes on, is evaluated and watched."""

from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput
from bitexact.storage import config as run_config
from rllib_worker.analytics import versions
from rllib_worker.config import RayWorkerConfig, parse

WORKER, VERSIONS = "worker", "worker_versions"  # in config.json


def config_of(run: Path) -> RayWorkerConfig:
    """The config of a run that there is, to be gone on with or played: versions must be the same. Raises BadInput."""
    config = kept_config(run)
    _expect_same_versions(run, run_config.read(run)[VERSIONS])
    return config


def kept_config(run: Path) -> RayWorkerConfig:
    """The config of a run, of whatever versions, at the place where it lies now. Raises BadInput."""
    kept = run_config.read(run)
    if WORKER not in kept:
        raise BadInput(f"{run} holds a run of another system: it has no RLlib config.")
    return parse({**kept[WORKER], "output_dir": str(run.absolute().parent), "run_id": run.absolute().name}, str(run))


def _expect_same_versions(run: Path, kept: dict[str, Any]) -> None:
    here = versions()
    differences = [f"{name} {here.get(name)} instead of {kept[name]}" for name in kept if here.get(name) != kept[name]]
    if differences:
        raise BadInput(f"{run} was made with other versions: here is {', '.join(differences)}; install the run's.")
