"""The settings that every way of learning has, each with its range, its default and its text for `--help`."""

from dataclasses import dataclass
from typing import Annotated

from bitexact.cli.ranges import real, whole
from pong.game import STICKY_PROBABILITY

MOST = 100_000  # enough for anybody; a slip of the finger beyond would only fill the memory
_SMALLEST_RATE = 1e-30  # float32 holds it; RMSProp's steps are below ten times the rate, so that none is above 1

Count = Annotated[int, whole(1, MOST)]
Rate = Annotated[float, real(_SMALLEST_RATE, 1.0)]
Part = Annotated[float, real(0.0, 1.0)]


@dataclass(frozen=True)
class BaseSettings:
    """What every way of learning needs to be told."""

    seed: Annotated[int, whole(0, 2**63 - 1, "a whole number from 0 to 2^63 - 1")] = 0
    """All randomness comes from it: another seed is another run."""
    batch_size: Count = 10
    """Rollouts (games to 21 points) per update. Larger: steadier steps, fewer of them."""
    learning_rate: Rate = 2e-3
    """The optimizer's step size at first (reinforce: always, and 1e-4; 1e-3 learns faster)."""
    discount: Part = 0.99
    """How much a reward one step later is worth now."""
    hidden_units: Count = 64
    """Hidden units of the policy (reinforce: 200)."""
    sticky_actions: Part = STICKY_PROBABILITY
    """How probably a frame repeats the action before it, whatever was chosen. ALE/Pong-v5 has 0.25; 0 is easier."""
