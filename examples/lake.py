"""Work of `frozen_lake.py`: the game and the learning, pure functions; then training with actors, and replay.

Importing this module imports Ray and the Antithesis SDK, which read their environment then: `process_environment`
prepares it before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import ray

from bitexact.cli.exits import BadInput, Differs
from bitexact.cli.interrupts import Interrupts
from bitexact.cluster.interface import PoolSettings
from bitexact.cluster.pool import Pool
from bitexact.cluster.ray_cluster import RayCluster
from bitexact.cluster.ray_session import connect
from bitexact.cluster.worker import Worker
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.streams import Stream
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.ledger import Ledger
from bitexact.storage.run import CHECKPOINTS
from bitexact.storage.state import State
from examples import invariants

FIELDS, MOVES = 16, 4
BATCH, GAMES, RATE = 16, 20, 10.0


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
    reward: int
    digest: str  # of what is learned from it

    def mismatch(self, gradient: dict[str, np.ndarray] | None) -> str:
        """What of a rollout's result, as it arrived, is not as recorded."""
        return "" if gradient is None or fingerprint(gradient) == self.digest else "its gradient"


Result = tuple[dict[str, np.ndarray], Record]  # what is learned from a rollout, and what is recorded of it


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    NOISE = 0
    ICE = 1


@dataclass(frozen=True)
class TryNoise:
    """What is done for a rollout, by an actor or by replay: a function of the weights and the key."""

    seed: int

    def run(self, game: Any, weights: dict[str, np.ndarray], key: Key) -> Result:
        """Play with noise added, and taken away."""
        noise = (
            Stream(self.seed, Purpose.NOISE, key.update, key.index).uniforms(FIELDS * MOVES).reshape(FIELDS, MOVES)
            - 0.5
        )
        ice = iter(Stream(self.seed, Purpose.ICE, key.update, key.index))
        tables = (weights["table"] + sign * noise for sign in (1.0, -1.0))
        more, less = (sum(cross(game, table, ice) for _ in range(GAMES)) for table in tables)
        gradient = {"table": (noise * (more - less)).astype(np.float32)}
        return gradient, Record(key.update, key.index, reward=more + less, digest=fingerprint(gradient))


def make_lake() -> Any:
    """The game. The ice is ours: the game's own would not be addressed."""
    return gymnasium.make("FrozenLake-v1", is_slippery=False)


def cross(game: Any, table: np.ndarray, ice: Iterator[float]) -> int:
    """One game: 1 if the other side is reached. A third of the moves slip to the left, a third to the right."""
    field, _ = game.reset()
    over, reward = False, 0
    while not over:
        slip = int(next(ice) * 3.0) - 1
        field, reward, terminated, truncated, _ = game.step((int(table[field].argmax()) + slip) % MOVES)
        over = terminated or truncated
    return int(reward)


def first_state() -> State:
    """No move is liked better than another."""
    return State(0, {"table": np.zeros((FIELDS, MOVES), np.float32)}, {})


def learn(state: State, results: dict[Key, Result]) -> State:
    """The state after the next update: one step along the sum of all noise, each worth what it won."""
    total = TreeSum(BATCH)  # in an order that does not depend on arrival
    for key, (gradient, _) in results.items():
        total.add(key.index, gradient)
    step = np.float32(RATE / (BATCH * GAMES)) * total.total()["table"]
    return State(state.update + 1, {"table": state.weights["table"] + step}, {})


def keys_after(state: State) -> list[Key]:
    """The names of the next update's rollouts."""
    return [Key(state.update + 1, index) for index in range(BATCH)]


# ---- training and replay ----------------------------------------------------------------------------------------


@ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)
class Walker(Worker):
    """The actor: it holds nothing that a rollout could change."""

    def __init__(self) -> None:
        super().__init__(make_lake())


def train(run: Path, seed: int, updates: int, actors: int, interrupts: Interrupts) -> None:
    """Begin, or go on from the newest checkpoint that the ledger bears out."""
    ledger, checkpoints = Ledger(run), Checkpoints(run / CHECKPOINTS)
    ledger.cut_torn_lines(print)
    state = checkpoints.newest_good(first_state(), ledger.last_update, print, ledger.digest) or first_state()
    with connect(None, actors):
        pool = Pool(RayCluster(Walker), PoolSettings(actors, BATCH), Listener(interrupts))
        pool.wait_until_ready()
        while state.update < updates:
            results = dict(pool.run(TryNoise(seed), state.weights, keys_after(state)))
            for key, first, second in pool.take_duplicates():
                invariants.a_try_done_twice_is_the_same(first, second, vars(key))
            state = learn(state, results)
            commit(state, results, ledger)
            checkpoints.save(state)
            checkpoints.prune(3, state.update)


def commit(state: State, results: dict[Key, Result], ledger: Ledger) -> None:
    """Check an update, then write it down: first its rollouts, then the line that makes it part of the run."""
    lines = [vars(record) for _, (_, record) in sorted(results.items(), key=lambda item: item[0].index)]
    where = {"update": state.update}
    invariants.a_generation_holds_each_index_once([line["index"] for line in lines], BATCH, where)
    invariants.updates_are_written_in_order(state.update, ledger.last_update, where)
    recorded = ledger.digest(state.update)
    if recorded is not None:
        invariants.an_update_done_again_is_the_same(state.digest(), recorded, where)
    wins = sum(line["reward"] for line in lines) / (2 * GAMES * BATCH)
    invariants.the_walkers_learn(wins, where)
    ledger.commit({"update": state.update, "weights_digest": state.digest(), "rollouts": BATCH, "wins": wins}, lines)
    print(f"update {state.update}  {wins:.0%} reach the other side  digest {state.digest()[:12]}", flush=True)


def replay(run: Path, seed: int) -> None:
    """Recompute every update, and compare. Raises Differs."""
    ledger, state, lake = Ledger(run), first_state(), make_lake()
    if not ledger.last_update:
        raise BadInput(f"{run} holds no update yet: there is nothing to replay.")
    while state.update < ledger.last_update:
        results = {key: TryNoise(seed).run(lake, state.weights, key) for key in keys_after(state)}
        state = learn(state, results)
        if state.digest() != ledger.digest(state.update):
            raise Differs(f"{run}: update {state.update} has another digest than recorded.")
    print(f"the same: {state.update} updates, weights digest {state.digest()}")


class Listener:
    """What the pool tells, and asks."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.check_interrupt = interrupts.check

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        """Shown."""
        print(text)
