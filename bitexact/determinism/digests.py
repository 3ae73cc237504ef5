"""Digests: short names for exact bytes.

`digest` (SHA-256) names weights and optimizer state in the ledger. `fingerprint` (XXH3, 128 bits) names what is hashed
once a rollout, where SHA-256 would cost over 1 % of it; it guards against accidents, not against forgery.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import xxhash

from bitexact.determinism.arrays import Arrays


def _parts(arrays: Arrays) -> Iterator[bytes | memoryview]:
    """Name, dtype, shape and little-endian bytes of each array, in the order of their names."""
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        yield f"{name}|{array.dtype.str}|{arrays[name].shape}|".encode()
        yield array.data.cast("B") if array.size else b""


def digest(arrays: Arrays) -> str:
    """SHA-256, 64 hexadecimal digits."""
    sha = hashlib.sha256()
    for part in _parts(arrays):
        sha.update(part)
    return sha.hexdigest()


def fingerprints(arrays: Arrays) -> dict[str, str]:
    """The fingerprint of each array by itself."""
    return {name: fingerprint({name: array}) for name, array in arrays.items()}


def fingerprint(arrays: Arrays) -> str:
    """XXH3-128, 32 hexadecimal digits."""
    xxh = xxhash.xxh3_128()
    for part in _parts(arrays):
        xxh.update(part)
    return xxh.hexdigest()
