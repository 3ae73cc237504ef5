"""The Ray actor: weights in, a rollout's gradient or its steps out.

    actor = PongEnv.remote(seed=0, discount=0.99)
    gradient, record = ray.get(actor.compute_gradient.remote(weights, update=1, index=0))

The pool hands it tasks instead: what is done for a rollout, as an object, with the rollout's name.

    steps, record = ray.get(actor.run.remote(weights, StepsTask(discount=0.99, gae_lambda=0.95), RolloutId(0, 1, 0)))

It holds an emulator and nothing that a rollout could change: whichever actor computes (weights, seed, update, index),
in whatever order, the bytes are the same. So Ray restarts nothing by itself (`max_restarts=0`, `max_task_retries=0`):
the pool dispatches what is lost again.
"""

from collections.abc import Callable

import ray

from bitexact.cluster.worker import Worker
from bitexact.determinism.arrays import Arrays
from pong.game import Pong
from pong.play import RolloutId
from training.rollout_record import RolloutRecord
from training.rollout_task import GradientTask


@ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
class PongEnv(Worker):
    """Plays games of Pong, one at a time."""

    def __init__(self, seed: int = 0, discount: float = 0.99, make: Callable[[], Pong] = Pong) -> None:
        """Seed and discount are those of `compute_gradient`; a task brings its own. `make` makes the game it plays."""
        super().__init__(make())
        self._seed, self._discount = seed, discount

    def compute_gradient(self, weights: Arrays, update: int, index: int) -> tuple[Arrays, RolloutRecord]:
        """Play rollout (update, index) with these weights: its gradient and its record."""
        return GradientTask(self._discount).run(self._game, weights, RolloutId(self._seed, update, index))
