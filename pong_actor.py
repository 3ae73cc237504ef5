"""The Ray actor: weights in, a rollout's gradient or its steps out.

    actor = PongEnv.remote(seed=0, discount=0.99, gae_lambda=0.95)
    gradient, record = ray.get(actor.compute_gradient.remote(weights, update=1, index=0))
    steps, record = ray.get(actor.play.remote(weights, update=1, index=0))

It holds an emulator and nothing that a rollout could change: whichever actor computes (weights, update, index), in
whatever order, the bytes are the same. So Ray restarts nothing by itself (`max_restarts=0`, `max_task_retries=0`): the
pool dispatches what is lost again.
"""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import ray

from bitexact.determinism import process, versions
from bitexact.determinism.arrays import Arrays
from pong.evaluation import EvaluationTask, GameResult, evaluation_id
from pong.game import Pong
from pong.play import RolloutId
from training.rollout_record import RolloutRecord
from training.rollout_task import GradientTask, StepsTask
from training.steps import GameSteps


@dataclass(frozen=True)
class Greeting:
    """What an actor says when it is ready: who it is, and what would make its bits differ."""

    host: str
    process: int
    versions: dict[str, str]
    keeps_denormals: bool

    def objection(self, installed: dict[str, str]) -> str:
        """Why this actor's node would compute other bits than a process with these package versions; or nothing."""
        if not self.keeps_denormals:
            return "its processes flush denormal numbers to zero"
        return versions.differences(self.versions, installed)


@ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
class PongEnv:
    """Plays games of Pong, one at a time."""

    def __init__(self, seed: int, discount: float, gae_lambda: float, packages: Sequence[str] = ()) -> None:
        # Named by the driver: Ray may delete the files that it brought here, once a killed driver's job ends.
        self._seed, self._discount, self._gae_lambda, self._packages = seed, discount, gae_lambda, packages
        self._game = Pong()

    def greet(self) -> Greeting:
        """Say that it is ready."""
        return Greeting(socket.gethostname(), os.getpid(), versions.installed(self._packages), process.keep_denormals())

    def compute_gradient(self, weights: Arrays, update: int, index: int) -> tuple[Arrays, RolloutRecord]:
        """Play rollout (update, index) with these weights: its gradient and its record."""
        return GradientTask(self._discount).run(self._game, weights, RolloutId(self._seed, update, index))

    @ray.method(num_returns=2)
    def leave_gradient(self, weights: Arrays, update: int, index: int) -> tuple[Arrays, RolloutRecord]:
        """The same as two objects: the record is sent, the gradient stays on this node until it is added."""
        return GradientTask(self._discount).run(self._game, weights, RolloutId(self._seed, update, index))

    def play(self, weights: Arrays, update: int, index: int) -> tuple[GameSteps, RolloutRecord]:
        """Play rollout (update, index) with these weights: its steps, to learn from, and its record."""
        task = StepsTask(self._discount, self._gae_lambda)
        return task.run(self._game, weights, RolloutId(self._seed, update, index))

    def evaluate(self, policy: tuple[Arrays, bool], index: int) -> GameResult:
        """Play game `index` of an evaluation. `policy` is the weights, and whether to play greedily."""
        weights, greedy = policy
        return EvaluationTask(greedy).run(self._game, weights, evaluation_id(self._seed, index))[1]
