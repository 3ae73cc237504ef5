"""The steps of played games: as they travel from an actor, and as they are learned from.

    games = [GameSteps.of(trajectory, advantages, value_targets), ...]
    steps = Steps.of(games, inputs=len(weights["W1"]))
    for rows in minibatches(len(steps), 512, seed=0, update=1, epoch=0):
        minibatch = steps.choose(rows)

T is the number of steps of a game, M of those that are learned from at a time, D of a network's inputs.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from bitexact.determinism.arrays import Arrays
from bitexact.determinism.exact_math import standardise
from bitexact.determinism.streams import Purpose, Stream
from pong.play import Trajectory


@dataclass(frozen=True)
class GameSteps:
    """One game of T steps as it travels from an actor: some 270 bytes a step."""

    inputs: np.ndarray  # uint16, the indices of all steps' inputs that are not 0
    signs: np.ndarray  # int8, +1 or -1 each
    counts: np.ndarray  # uint16 [T], how many of them belong to each step
    actions: np.ndarray  # bool [T], whether it went up
    probabilities: np.ndarray  # float64 [T], of "up" when they were played
    advantages: np.ndarray  # float64 [T]
    value_targets: np.ndarray  # float64 [T], what each state turned out to be worth

    @classmethod
    def of(cls, trajectory: Trajectory, advantages: np.ndarray, value_targets: np.ndarray) -> "GameSteps":
        """The steps of a game that was played, with what was found of each: float64 [T]."""
        observations = trajectory.observations
        return cls(
            inputs=observations.indices.astype(np.uint16),
            signs=observations.data.astype(np.int8),
            counts=np.diff(observations.indptr).astype(np.uint16),
            actions=trajectory.ups,
            probabilities=trajectory.probabilities,
            advantages=advantages,
            value_targets=value_targets,
        )

    def arrays(self) -> Arrays:
        """All of it under the names that a record's digests have."""
        names = {"value_targets": "worth"}
        return {names.get(name, name): array for name, array in vars(self).items()}


@dataclass(frozen=True)
class Steps:
    """Steps to learn from."""

    observations: sparse.csr_array  # [M, D], float32 of +1 and -1
    ups: np.ndarray  # bool [M], the actions
    probabilities: np.ndarray  # float64 [M], of "up" when they were played
    advantages: np.ndarray  # float64 [M]
    value_targets: np.ndarray  # float64 [M], what each state turned out to be worth

    @classmethod
    def of(cls, games: Sequence[GameSteps], inputs: int) -> "Steps":
        """The steps of some games, one after the other, their advantages standardised over all of them.

        `inputs` is how many the network has: D.
        """
        ends = np.cumsum(np.concatenate([[0], *(game.counts for game in games)]), dtype=np.int32)
        signs = np.concatenate([game.signs for game in games]).astype(np.float32)
        indices = np.concatenate([game.inputs for game in games]).astype(np.int32)
        return cls(
            observations=sparse.csr_array((signs, indices, ends), shape=(len(ends) - 1, inputs)),
            ups=np.concatenate([game.actions for game in games]),
            probabilities=np.concatenate([game.probabilities for game in games]),
            advantages=standardise(np.concatenate([game.advantages for game in games]).tolist()),
            value_targets=np.concatenate([game.value_targets for game in games]),
        )

    def __len__(self) -> int:
        return len(self.ups)

    def narrow(self, inputs: np.ndarray) -> "Steps":
        """The same steps for a network that has some of the inputs alone, int64, ascending: all that any step has."""
        whole = self.observations
        number_of = np.zeros(whole.shape[1], np.int32)  # looked up: 20 times faster than a search for each
        number_of[inputs] = np.arange(len(inputs), dtype=np.int32)
        entries = (whole.data, number_of[whole.indices], whole.indptr)
        narrow = sparse.csr_array(entries, shape=(len(self), len(inputs)))
        return dataclasses.replace(self, observations=narrow)

    def choose(self, rows: np.ndarray) -> "Steps":
        """Some of the steps, by their numbers, int64 [M]."""
        return Steps(**{name: values[rows] for name, values in vars(self).items()})


def minibatches(count: int, size: int, seed: int, update: int, epoch: int) -> list[np.ndarray]:
    """The steps 0 to count - 1 in an order that is the epoch's own, in parts of about `size`, int64 each.

    Each part is sorted: what it holds decides, and memory is read in order.
    """
    order = Stream(seed, Purpose.MINIBATCHES, update, epoch).order(count)
    return [np.sort(part) for part in np.array_split(order, max(1, round(count / size)))]
