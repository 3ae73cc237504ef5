"""Reading .npz archives that may come from anywhere: what they hold is known from headers before any of it is read.

An array's header is some hundred bytes and says its shape; what it says is held against the file's size and against
what is expected, so that a small file that claims to be, or inflates to, a large one costs nothing. No pickles.
"""

import math
import zipfile
from typing import IO, Any

import numpy as np

from bitexact.determinism.arrays import Arrays

Kinds = dict[str, tuple[tuple[int, ...], str]]  # shape and dtype by name, as `arrays.kinds` gives them
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_MOST_ARRAYS = 1000


def kinds(archive: zipfile.ZipFile) -> Kinds:
    """What an archive holds, from its headers. Raises ValueError, or what a damaged zip file makes zipfile raise."""
    members = archive.infolist()
    if len(members) > _MOST_ARRAYS:
        raise ValueError(f"it holds {len(members)} arrays")
    found: Kinds = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        if name in found:
            raise ValueError(f"it holds {name} twice")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{name} is compressed")
        with archive.open(member) as file:
            found[name] = _header(file, name, member.file_size)
    return found


def read(archive: zipfile.ZipFile, names: list[str]) -> Arrays:
    """Some of its arrays, whose kinds were found to be as expected. Raises ValueError, or what zipfile raises."""
    arrays = {}
    for name in names:
        with archive.open(f"{name}.npy") as file:
            arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
            if file.read(1):  # also: only at its end is a member's checksum compared
                raise ValueError(f"{name} is followed by more")
    return arrays


def difference(found: Kinds, expected: Kinds) -> str:
    """The first of the expected arrays that is there, but of another kind, in words; empty if there is none."""
    for name in sorted(found.keys() & expected.keys()):
        if found[name] != expected[name]:
            return f"{name} is {_in_words(found[name])} instead of {_in_words(expected[name])}"
    return ""


def _header(file: IO[bytes], name: str, size: int) -> tuple[tuple[int, ...], str]:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"{name} is of format {version}")
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject or dtype.names:
        raise ValueError(f"{name} holds objects")
    if any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize > size:
        raise ValueError(f"{name} is said to be larger than it is")
    return shape, dtype.str


def _in_words(kind: tuple[tuple[int, ...], str]) -> str:
    return f"{kind[1]} {list(kind[0])}"
