"""Arrays on the disk: safetensors, each file whole or not there, each with its digest inside. No pickle.

A file's header is read and held to a limit before anything else, so that a damaged or hostile one costs no memory.
Files are read here without that package: where a dream is only played, it need not be there.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from bitexact.cli.exits import BadInput
from bitexact.determinism.digests import digest
from bitexact.storage import durable

_ABOUT, _DIGEST = "about", "digest"  # in one entry: safetensors keeps no order among several
_LARGEST_HEADER = 1 << 20
LARGEST_MODEL = 1 << 20
LARGEST_RECORDING = 1 << 30
_DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4", "I8": "|i1", "U8": "|u1"}  # safetensors' names


def write(path: Path, arrays: dict[str, np.ndarray], about: dict[str, Any]) -> str:
    """Write arrays and a few words about them: the arrays' digest. Raises DiskRefused."""
    from safetensors.numpy import save  # only here: see above

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
        arrays, about = _parse(data)
        sound = digest(arrays) == about[_DIGEST]
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError, struct.error) as error:
        raise BadInput(f"{path} is torn or damaged ({type(error).__name__}): make it anew.") from None
    if not sound:
        raise BadInput(f"{path} is damaged (its digest is not that of its arrays): make it anew.")
    return arrays, about


def _parse(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays of safetensors' bytes, and what is said about them. Raises what a damaged file may bring about.

    The length of a header of JSON, eight bytes; the header: each array's type, shape and place; the arrays' bytes.
    """
    (length,) = struct.unpack("<Q", data[:8])
    if length > min(_LARGEST_HEADER, len(data)):
        raise ValueError("its header is too long")
    header = json.loads(data[8 : 8 + length])
    about = json.loads(header.pop("__metadata__")[_ABOUT])
    body, arrays, end = memoryview(data)[8 + length :], {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, past = entry["data_offsets"]
        if first != end:
            raise ValueError("its arrays do not lie side by side")
        found = np.frombuffer(body[first:past], _DTYPES[entry["dtype"]])
        arrays[name], end = found.reshape(entry["shape"]).copy(), past
    if end != len(body):
        raise ValueError("it is longer than its arrays")
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
