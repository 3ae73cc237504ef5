"""Named arrays: what weights, gradients and optimizer states are, and how they are taken apart and put together."""

import numpy as np

Arrays = dict[str, np.ndarray]

_BLOCK_ROWS = 512


def kinds(arrays: Arrays) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each array, by name: what must agree before two sets of arrays can be compared or added."""
    return {name: (array.shape, array.dtype.str) for name, array in arrays.items()}


def zeros_like(arrays: Arrays) -> Arrays:
    """Zeros of the same names and shapes."""
    return {name: np.zeros_like(array) for name, array in arrays.items()}


def copies(arrays: Arrays) -> Arrays:
    """The same values in memory of their own."""
    return {name: array.copy() for name, array in arrays.items()}


def denormals(arrays: Arrays) -> int:
    """How many numbers are denormal: not 0, and nearer to it than the smallest that has full precision."""
    found = [(array != 0.0) & (np.abs(array) < np.finfo(array.dtype).tiny) for array in arrays.values()]
    return int(np.count_nonzero(np.concatenate([each.ravel() for each in found])))


def add_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """The same arrays, a prefix before each name."""
    return {prefix + name: array for name, array in arrays.items()}


def strip_prefix(prefix: str, arrays: Arrays) -> Arrays:
    """Those that have the prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def zero_below(array: np.ndarray, smallest: float) -> None:
    """Set to zero, in place, all whose magnitude is below `smallest`, a float32; NaN stays."""
    for rows in blocks(len(array)):
        block = array[rows]
        block[np.abs(block) < np.float32(smallest)] = 0.0


def blocks(count: int) -> list[slice]:
    """Rows in parts of which all that a step touches fits a processor's cache."""
    return [slice(start, start + _BLOCK_ROWS) for start in range(0, count, _BLOCK_ROWS)]
