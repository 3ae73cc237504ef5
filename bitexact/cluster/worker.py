"""What an actor of the pool does, whatever is computed: say what its process is like, and run tasks.

    PongEnv = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Worker subclass)

A task is an object with one method, `run(game, shared, key) -> (result, record)`: a pure function of the shared value
and the key, where `game` is what the actor keeps from one run to the next, and that no run can change.
"""

from collections.abc import Sequence
from typing import Any

import ray

from bitexact.cluster.interface import Key, Record, SharedDamaged
from bitexact.determinism import process
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.process import ProcessInfo


class Worker:
    """The actor's side of `RayCluster`: derive from it and decorate with `ray.remote`."""

    def __init__(self, game: Any) -> None:
        """`game` is handed to each task."""
        self._game = game

    def greet(self, packages: Sequence[str], modules: Sequence[str] = ()) -> ProcessInfo:
        """Say that it is ready, and what its process is like.

        Packages and modules are named by the driver: Ray may delete the files that it brought here, once a killed
        driver's job ends.
        """
        return process.describe(packages, modules)

    def run(self, shared: Any, task: Any, key: Key, named: str = "") -> tuple[Any, Record]:
        """What the task gives for this key. Raises SharedDamaged if the shared arrays are not those that were named."""
        if named and fingerprint(shared) != named:
            raise SharedDamaged("their bytes are not those that were sent")
        outcome: tuple[Any, Record] = task.run(self._game, shared, key)
        return outcome

    @ray.method(num_returns=2)
    def run_and_keep(self, shared: Any, task: Any, key: Key, named: str = "") -> tuple[Any, Record]:
        """The same as two objects: the record is sent, the result stays on this node until it is asked for."""
        return self.run(shared, task, key, named)
