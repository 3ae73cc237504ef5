"""config.json: what a run was begun with. Settings are its system's own; versions and first digest are every run's."""

import json
import platform
from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput
from bitexact.determinism import versions
from bitexact.storage import durable

CONFIG = "config.json"


def write(directory: Path, settings: dict[str, Any], initial_digest: str) -> None:
    """Write config.json of a run that begins with a state of this digest. Raises DiskRefused."""
    config = {
        **settings,
        "versions": versions.installed(),
        "python": platform.python_version(),
        "initial_digest": initial_digest,
    }
    durable.write_atomically(directory / CONFIG, json.dumps(config, indent=2).encode() + b"\n")


def read(directory: Path) -> dict[str, Any]:
    """A run's config.json, whatever system made it. Raises BadInput if it is not there, or not sound."""
    path = directory / CONFIG
    try:
        config: dict[str, Any] = json.loads(path.read_text())
        _ = config["versions"].keys(), config["initial_digest"]  # both must be there
    except FileNotFoundError:
        raise BadInput(f"{directory} holds no run: there is no {path}.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(path, error) from None
    return config


def damaged(path: Path, error: Exception) -> BadInput:
    """The sentence for a config that cannot be used."""
    return BadInput(f"{path} is damaged ({error}): restore it, or start anew with --overwrite.")
