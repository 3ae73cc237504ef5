"""What an update changes: the weights and the optimizer's state, and their digest."""

from dataclasses import dataclass
from typing import Any

from bitexact.determinism import digests
from bitexact.determinism.arrays import Arrays


@dataclass(frozen=True)
class State:
    """The state after update `update`; 0 is the initial one."""

    update: int
    weights: Arrays
    optimizer: Arrays

    def arrays(self) -> Arrays:
        """All arrays under one name each: what digests and checkpoints hold."""
        return self.weights | self.optimizer

    def with_arrays(self, update: int, arrays: Arrays) -> "State":
        """A state of these arrays, which bear the names of this one's. Raises KeyError if one is missing."""
        weights = {name: arrays[name] for name in self.weights}
        return State(update, weights, {name: arrays[name] for name in self.optimizer})

    def digest(self) -> str:
        """The SHA-256 that the ledger names this state by."""
        return digests.digest(self.arrays())

    def digests(self) -> dict[str, Any]:
        """What the ledger's line says of this state: its digest, and one of each array, to tell which differs."""
        of_arrays = digests.fingerprints(dict(sorted(self.arrays().items())))
        return {"weights_digest": self.digest(), "array_digests": of_arrays}
