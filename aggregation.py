"""Sums of gradients in a fixed tree over rollout indices, whatever the order in which they arrive.

Float addition is not associative, so the shape of the sum is part of the result. A range of indices splits at the
largest power of two below its length; the tree depends on the batch size alone, and no more than log2(batch size)
partial sums wait at a time when results arrive in order. What is added need not be at hand: any values do that there is
a `plus` for, such as references to gradients that lie on other machines.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from policy import Arrays

Range = tuple[int, int]  # first index, one past the last
Value = Any  # gradients, or whatever stands for them


def added(left: Arrays, right: Arrays) -> Arrays:
    """The sum of two gradients."""
    return {name: left[name] + right[name] for name in left}


def split(whole: Range) -> tuple[Range, Range]:
    """The two halves of a range of two indices or more."""
    first, end = whole
    middle = first + (1 << ((end - first - 1).bit_length() - 1))
    return (first, middle), (middle, end)


class TreeSum:
    """Adds the gradients 0 to size - 1, each once, in any order, to the same bits."""

    def __init__(self, size: int, plus: Callable[[Value, Value], Value] = added) -> None:
        self._whole: Range = (0, size)
        self._plus = plus
        self._sums: dict[Range, Value] = {}

    def add(self, index: int, gradient: Value) -> None:
        """Take one gradient in, and add what can now be added."""
        path = self._path_to(index)
        part = path.pop()
        self._sums[part] = gradient
        while path:
            part = path.pop()
            left, right = split(part)
            if left not in self._sums or right not in self._sums:
                break
            self._sums[part] = self._plus(self._sums.pop(left), self._sums.pop(right))

    def total(self) -> Value:
        """The sum of all. Raises KeyError while one is missing."""
        return self._sums[self._whole]

    def _path_to(self, index: int) -> list[Range]:
        """The ranges that hold an index, from the whole to the index alone."""
        path = [self._whole]
        while path[-1][1] - path[-1][0] > 1:
            left, right = split(path[-1])
            path.append(left if index < left[1] else right)
        return path


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
