"""What an update changes: the weights and the optimizer's state, and their digest."""

from dataclasses import dataclass
from typing import Any

import digests
import policy
from game import PIXELS
from policy import Arrays
from settings import Settings

_CACHE = "cache_"  # before the name of a weight: RMSProp's running mean of its squared gradient


@dataclass(frozen=True)
class State:
    """The state after update `update`; 0 is the initial one."""

    update: int
    weights: Arrays
    cache: Arrays

    def arrays(self) -> Arrays:
        """All arrays under one name each: what digests and checkpoints hold."""
        return self.weights | {_CACHE + name: array for name, array in self.cache.items()}

    @classmethod
    def of(cls, update: int, arrays: Arrays) -> "State":
        """The reverse of `arrays`."""
        weights = {name: array for name, array in arrays.items() if not name.startswith(_CACHE)}
        return cls(update, weights, {name: arrays[_CACHE + name] for name in weights})

    def digest(self) -> str:
        """The SHA-256 that the ledger names this state by."""
        return digests.digest(self.arrays())

    def digests(self) -> dict[str, Any]:
        """What the ledger's line says of this state: its digest, and one of each array, to tell which differs."""
        of_arrays = {name: digests.fingerprint({name: array}) for name, array in sorted(self.arrays().items())}
        return {"weights_digest": self.digest(), "array_digests": of_arrays}


def initial(settings: Settings) -> State:
    """Update 0: random weights from the seed, nothing accumulated."""
    weights = policy.initial_weights(settings.seed, PIXELS, settings.hidden_units)
    return State(0, weights, policy.zeros_like(weights))
