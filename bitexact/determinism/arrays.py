"""Named arrays: what weights, gradients and optimizer states are, and how they are taken apart and put together."""

import numpy as np

Arrays = dict[str, np.ndarray]


def kinds(arrays: Arrays) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each array, by name: what must agree before two sets of arrays can be compared or added."""
    return {name: (array.shape, array.dtype.str) for name, array in arrays.items()}


def zeros_like(arrays: Arrays) -> Arrays:
    """Zeros of the same names and shapes."""
    return {name: np.zeros_like(array) for name, array in arrays.items()}


def add_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """The same arrays, a prefix before each name."""
    return {prefix + name: array for name, array in arrays.items()}


def strip_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """Those that have the prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
