"""Arrays on the disk: safetensors, each file whole or not there, each with its digest inside. No pickle.

A file's header is read and held to a limit before anything else, so that a damaged or hostile one costs no memory.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from bitexact.cli.exits import BadInput
from bitexact.determinism.digests import digest
from bitexact.storage import durable

_ABOUT, _DIGEST = "about", "digest"  # in one entry: safetensors keeps no order among several
_LARGEST_HEADER = 1 << 20
LARGEST_MODEL = 1 << 20
LARGEST_RECORDING = 1 << 30


def write(path: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> str:
    """Write arrays and a few words about them: the arrays' digest. Raises DiskRefused."""
    found = digest(arrays)
    text = json.dumps({**about, _DIGEST: found}, sort_keys=True)
    durable.write_atomically(
        path, save({name: np.asarray(one, order="C") for name, one in arrays.items()}, {_ABOUT: text})
    )
    return found


def read(path: Path, largest: int = LARGEST_RECORDING) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and what is said about them, with "digest". Raises BadInput, naming the file, unless it is sound."""
    try:
        size = path.stat().st_size
        if size > largest:
            raise BadInput(f"{path} is larger than any file of its kind ({size:,} bytes): name another.")
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(
            f"{path} cannot be read ({error.strerror}): name one that {'can' if path.exists() else 'is there'}."
        ) from None
    try:
        (length,) = struct.unpack("<Q", data[:8])
        if length > min(_LARGEST_HEADER, len(data)):
            raise ValueError("its header is too long")
        header = json.loads(data[8 : 8 + length])
        about = json.loads(header["__metadata__"][_ABOUT])
        arrays = load(data)
        sound = digest(arrays) == about[_DIGEST]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, struct.error, SafetensorError) as error:
        raise BadInput(f"{path} is torn or damaged ({type(error).__name__}): make it anew.") from None
    if not sound:
        raise BadInput(f"{path} is damaged (its digest is not that of its arrays): make it anew.")
    return arrays, about


def read_json(path: Path, largest: int = 1 << 24) -> dict[str, Any]:
    """An object of JSON. Raises BadInput, naming the file."""
    try:
        if path.stat().st_size > largest:
            raise BadInput(f"{path} is larger than any file of its kind: name another.")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): name one that is there.") from None
    except (ValueError, RecursionError):
        raise BadInput(f"{path} is torn or damaged (not JSON): make it anew.") from None
    if not isinstance(found, dict):
        raise BadInput(f"{path} is damaged (not an object of JSON): make it anew.")
    return found


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write an object of JSON, its names in order. Raises DiskRefused."""
    durable.write_atomically(path, json.dumps(value, indent=1, sort_keys=True).encode() + b"\n")
