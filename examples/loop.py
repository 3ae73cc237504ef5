"""The loop on the kit, whatever is played and learned: begin or go on, commit, replay.

A `Problem` says what is a game's own: `lake.py` evolves a table on FrozenLake, `mended.py` follows gradients in Pong.
Importing this module imports Ray and the Antithesis SDK, which read their environment then: `process_environment`
prepares it before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitexact.cli.exits import BadInput, Differs
from bitexact.cli.interrupts import Interrupts
from bitexact.cluster.interface import PoolSettings
from bitexact.cluster.pool import Pool
from bitexact.cluster.ray_cluster import RayCluster
from bitexact.cluster.ray_session import connect
from bitexact.determinism.digests import fingerprint
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.ledger import Ledger
from bitexact.storage.run import CHECKPOINTS
from bitexact.storage.state import State
from examples import invariants


@dataclass(frozen=True)
class Key:
    """Names a rollout."""

    update: int
    index: int

    def __str__(self) -> str:
        return f"{self.update}.{self.index}"


@dataclass(frozen=True)
class Record:
    """What the ledger's line says of a rollout."""

    update: int
    index: int
    reward: float
    digest: str  # of what is learned from it

    def mismatch(self, gradient: dict[str, np.ndarray] | None) -> str:
        """What of a rollout's result, as it arrived, is not as recorded."""
        return "" if gradient is None or fingerprint(gradient) == self.digest else "its gradient"


Result = tuple[dict[str, np.ndarray], Record]  # what is learned from a rollout, and what is recorded of it


def result(key: Key, gradient: dict[str, np.ndarray], reward: float) -> Result:
    """A rollout's, with the digest by which its record knows the gradient."""
    return gradient, Record(key.update, key.index, reward, fingerprint(gradient))


@dataclass(frozen=True)
class Problem:
    """What is a game's own."""

    first_state: State
    task: Any  # what is done for a rollout, by an actor or by replay: `run(game, weights, key)` gives a Result
    batch: int
    learn: Callable[[State, dict[Key, Result]], State]  # the next state, whatever the order of the results
    make_game: Callable[[], Any]
    actor_class: Any  # a Ray actor derived from Worker, which is handed `make_game()`
    summarize: Callable[[float, dict[str, int]], tuple[str, dict[str, float]]]
    """What is shown of an update's sum of rewards, and written down; and where it is."""

    def keys_after(self, state: State) -> list[Key]:
        """The names of the next update's rollouts."""
        return [Key(state.update + 1, index) for index in range(self.batch)]


def train(run: Path, problem: Problem, updates: int, actors: int, interrupts: Interrupts) -> None:
    """Begin, or go on from the newest checkpoint that the ledger bears out."""
    ledger, checkpoints, first = Ledger(run), Checkpoints(run / CHECKPOINTS), problem.first_state
    ledger.cut_torn_lines(print)
    state = checkpoints.newest_good(first, ledger.last_update, print, ledger.digest) or first
    with connect(None, actors):
        pool = Pool(RayCluster(problem.actor_class), PoolSettings(actors, problem.batch), Listener(interrupts))
        pool.wait_until_ready()
        while state.update < updates:
            results = dict(pool.run(problem.task, state.weights, problem.keys_after(state)))
            for key, one, other in pool.take_duplicates():
                invariants.a_try_done_twice_is_the_same(one, other, vars(key))
            state = problem.learn(state, results)
            commit(state, results, ledger, problem)
            checkpoints.save(state)
            checkpoints.prune(3, state.update)


def commit(state: State, results: dict[Key, Result], ledger: Ledger, problem: Problem) -> None:
    """Check an update, then write it down: first its rollouts, then the line that makes it part of the run."""
    lines = [vars(record) for _, (_, record) in sorted(results.items(), key=lambda item: item[0].index)]
    where = {"update": state.update}
    invariants.a_generation_holds_each_index_once([line["index"] for line in lines], problem.batch, where)
    invariants.updates_are_written_in_order(state.update, ledger.last_update, where)
    recorded = ledger.digest(state.update)
    if recorded is not None:
        invariants.an_update_done_again_is_the_same(state.digest(), recorded, where)
    shown, written = problem.summarize(sum(line["reward"] for line in lines), where)
    named = {"update": state.update, "weights_digest": state.digest(), "rollouts": problem.batch}
    ledger.commit(named | written, lines)
    print(f"update {state.update}  {shown}  digest {state.digest()[:12]}", flush=True)


def replay(run: Path, problem: Problem) -> None:
    """Recompute every update in this process, and compare. Raises Differs."""
    ledger, state, game = Ledger(run), problem.first_state, problem.make_game()
    if not ledger.last_update:
        raise BadInput(f"{run} holds no update yet: there is nothing to replay.")
    while state.update < ledger.last_update:
        keys = problem.keys_after(state)
        state = problem.learn(state, {key: problem.task.run(game, state.weights, key) for key in keys})
        if state.digest() != ledger.digest(state.update):
            raise Differs(f"{run}: update {state.update} has another digest than recorded.")
    print(f"the same: {state.update} updates, weights digest {state.digest()}")


class Listener:
    """What the pool tells, and asks."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.check_interrupt = interrupts.check

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        """Shown."""
        print(text, flush=True)
