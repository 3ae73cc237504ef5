"""Sums of gradients in a fixed tree over rollout indices, whatever the order in which they arrive.

Float addition is not associative, so the shape of the sum is part of the result. Neighbours are added in pairs, the
sums of neighbouring pairs in pairs again, and so on; an odd one at the end waits for the next level. So a range of
indices splits at the largest power of two below its length; the tree depends on the batch size alone, and no more than
log2(batch size) partial sums wait at a time when results arrive in order. What is added need not be at hand: any values
do that there is a `plus` for, such as references to gradients that lie on other machines.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bitexact.determinism.arrays import Arrays

_STRETCH = 4096  # entries of an array that are compared of every sum

Value = Any  # a gradient, or what stands for one


def added(left: Arrays, right: Arrays) -> Arrays:
    """The sum of two gradients."""
    return {name: left[name] + right[name] for name in left}


class TreeSum:
    """Adds the gradients 0 to size - 1, each once, in any order, to the same bits.

    Where a call of `plus` is dear, it may be given more neighbours than two `at_once`, a power of two; it must then add
    them as `sum_of` does, and the bits are the same.
    """

    def __init__(self, size: int, plus: Callable[..., Value] = added, at_once: int = 2) -> None:
        self._size, self._plus, self._at_once = size, plus, at_once
        self._waiting: dict[tuple[int, int], dict[int, Value]] = {}  # by level and group: its members by their index
        self._total: list[Value] = []

    def add(self, index: int, gradient: Value) -> None:
        """Take one gradient in, and add what can now be added."""
        level, count, value = 0, self._size, gradient
        while count > 1:
            group = index // self._at_once
            members = self._waiting.setdefault((level, group), {})
            members[index] = value
            if len(members) < min(self._at_once, count - group * self._at_once):
                return
            del self._waiting[level, group]
            value = self._plus(*(members[one] for one in sorted(members))) if len(members) > 1 else value
            level, index, count = level + 1, group, -(-count // self._at_once)
        self._total.append(value)

    def total(self) -> Value:
        """The sum of all. Raises KeyError while one is missing."""
        if not self._total:
            raise KeyError("a gradient is missing")
        return self._total[-1]


def sum_of(gradients: Sequence[Arrays]) -> Arrays:
    """The sum of gradients that are all there."""
    tree = TreeSum(len(gradients))
    for index, gradient in enumerate(gradients):
        tree.add(index, gradient)
    total: Arrays = tree.total()
    return total


def excess_of_some(gradients: Sequence[Arrays], total: Arrays, drawn: int) -> float:
    """As `Float64Sum.excess`, of a drawn stretch of each array: it costs next to nothing, so every sum is compared.

    An array of at most that length is compared whole: a gradient that is missing shows there.
    """
    parts = [_stretch(arrays, drawn) for arrays in (*gradients, total)]
    compared = Float64Sum(parts[-1])
    for part in parts[:-1]:
        compared.add(part)
    return compared.excess(parts[-1])


def _stretch(arrays: Arrays, drawn: int) -> Arrays:
    flat = {name: array.reshape(-1) for name, array in arrays.items()}
    begins = {name: drawn % max(1, array.size - _STRETCH + 1) for name, array in flat.items()}
    return {name: array[begins[name] : begins[name] + _STRETCH] for name, array in flat.items()}


class Float64Sum:
    """The same sum for comparison, in float64 and in order of arrival, with a bound on how far a float32 sum may be."""

    def __init__(self, like: Arrays) -> None:
        self._sum = {name: np.zeros(array.shape) for name, array in like.items()}
        self._magnitude = {name: np.zeros(array.shape) for name, array in like.items()}
        self._count = 0

    def add(self, gradient: Arrays) -> None:
        """Take one gradient in."""
        for name, array in gradient.items():
            self._sum[name] += array
            self._magnitude[name] += np.abs(array)
        self._count += 1

    def excess(self, total: Arrays) -> float:
        """The largest error of `total` over its bound: at most 1 for a true sum.

        n terms, added in any order, are off by at most (n - 1) u / (1 - (n - 1) u) times the sum of magnitudes
        (Higham, "Accuracy and Stability of Numerical Algorithms", 4.2), u = 2^-24; twice that leaves room for float64.
        """
        worst = 0.0
        for name, array in total.items():
            bound = 2.0 * self._count * 2.0**-24 * self._magnitude[name] + np.finfo(np.float64).tiny
            worst = float(np.maximum(worst, np.max(np.abs(array - self._sum[name]) / bound)))  # keeps a NaN
        return worst
