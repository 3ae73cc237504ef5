"""Counter-based random numbers: every draw has an address, so none depends on what was drawn before.

A stream is named by (seed, purpose, update, index). Its bits are NumPy's raw Philox-4x64 output: the key is
(seed, purpose), the counter's words are (block, 0, update, index). Two streams with different names share no
counter value under a key, whatever they draw (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011).

Raw output is used because NumPy promises it not to change, unlike the variates of `numpy.random.Generator`;
`SeedSequence` is avoided because it pads with zeros, so that (7, 0, 0) and 7 are one seed.
"""

from collections.abc import Iterator
from enum import IntEnum

import numpy as np

_BLOCK = 1024  # uniforms drawn at a time where they are used one by one; the values do not depend on it


class Purpose(IntEnum):
    """What a stream is for: the second word of its key. Numbers are part of every digest: never reuse one."""

    INITIAL_WEIGHTS = 0
    POLICY = 1
    STICKY_ACTIONS = 2
    EVALUATION = 3
    MINIBATCHES = 4


class Stream:
    """The uniforms of one purpose, in one place of the run."""

    def __init__(self, seed: int, purpose: int, update: int = 0, index: int = 0) -> None:
        self._bits = np.random.Philox(
            key=np.array([seed, purpose], dtype=np.uint64),
            counter=np.array([0, 0, update, index], dtype=np.uint64),
        )

    def uniforms(self, count: int) -> np.ndarray:
        """The next `count` numbers of [0, 1), float64: 53 random bits each."""
        return (self._bits.random_raw(count) >> np.uint64(11)) * 2.0**-53

    def order(self, count: int) -> np.ndarray:
        """The numbers 0 to count - 1 in a random order, int64: that of their draws."""
        return np.argsort(self._bits.random_raw(count), kind="stable")

    def __iter__(self) -> Iterator[float]:
        """The same numbers, one by one, without end."""
        while True:
            yield from self.uniforms(_BLOCK).tolist()
