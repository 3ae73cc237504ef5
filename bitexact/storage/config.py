"""config.json: what a run was begun with. Settings are its system's own; versions and first digest are every run's."""

import json
import platform
import re
from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput
from bitexact.determinism import versions
from bitexact.storage import durable, untrusted

CONFIG = "config.json"
_DIGEST = re.compile("[0-9a-f]{64}")


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
    """A run's config.json, whatever system made it. Raises BadInput if it is not there, or not sound.

    Sound: it has texts for `versions` by name, `python` and `initial_digest`; if it has `settings`, they are an object.
    """
    path = directory / CONFIG
    try:
        config = untrusted.parse_file(path)
        _check(config)
    except FileNotFoundError:
        raise BadInput(f"{directory} holds no run: there is no {path}.") from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise damaged(path, error) from None
    found: dict[str, Any] = config
    return found


def damaged(path: Path, error: Exception) -> BadInput:
    """The sentence for a config that cannot be used."""
    what = " ".join(str(error).split())[:300].rstrip(".")
    return BadInput(f"{path} is damaged ({what}): restore it, or start anew with --overwrite.")


def _check(config: Any) -> None:
    """Raise ValueError for what is no config."""
    if not isinstance(config, dict):
        raise ValueError("it is no object")
    for name, kind in {"versions": dict, "python": str, "initial_digest": str}.items():
        if not isinstance(config.get(name), kind):
            raise ValueError(f"it has no {name}")
    if not isinstance(config.get("settings", {}), dict):
        raise ValueError("its settings are no object")
    if not all(isinstance(version, str) for version in config["versions"].values()):
        raise ValueError("its versions are no texts")
    if not _DIGEST.fullmatch(config["initial_digest"]):
        raise ValueError("its initial_digest is none")
