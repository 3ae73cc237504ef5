"""Where everything that is drawn comes from: a stream of (seed, purpose, iteration, runner, episode).

The streams are set anew at each iteration, in env runners and learner, and at each episode. So weights, optimizer,
iteration and replay buffer are all the state that a run has: what was drawn before decides nothing.
"""

import random
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch

from bitexact.determinism.streams import Stream


class Purpose(IntEnum):
    """What a stream is for. Numbers are part of every digest: never reuse one."""

    WORKER_WEIGHTS = 101
    GAME = 102
    ACTIONS = 103
    OPPONENT = 104
    LEARNER = 105
    BUFFER = 106
    MATCH = 107
    MATCH_ACTIONS = 108
    INTERVAL = 109


@dataclass(frozen=True)
class Address:
    """One episode's place in a run, or with episode 0 of runner 0 an iteration's."""

    seed: int
    iteration: int
    runner: int = 0
    episode: int = 0

    def stream(self, purpose: Purpose) -> Stream:
        """The stream of this place."""
        return Stream(self.seed, purpose, self.iteration, (self.runner << 32) | self.episode)

    def number(self, purpose: Purpose) -> int:
        """One whole number below 2^31, for what takes a seed."""
        return int(self.stream(purpose).uniforms(1)[0] * 2**31)

    def seed_generators(self, purpose: Purpose) -> None:
        """Set this process's generators, which RLlib and games draw from."""
        number = self.number(purpose)
        random.seed(number)
        np.random.seed(number)
        torch.manual_seed(number)
