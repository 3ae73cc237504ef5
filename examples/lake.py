"""Work of `frozen_lake.py`: the game and the learning, pure functions; then training with actors, and replay.

Importing this module imports Ray and the Antithesis SDK, which read their environment then: `process_environment`
prepares it before.
"""

from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import ray

from bitexact.cli.exits import BadInput, Differs
from bitexact.cli.interrupts import Interrupts
from bitexact.cluster.pool import Key, Pool, PoolSettings
from bitexact.cluster.ray_cluster import RayCluster, connect
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.streams import Stream
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.ledger import Ledger
from bitexact.storage.run_directory import CHECKPOINTS
from bitexact.storage.state import State
from examples import invariants

FIELDS, MOVES = 16, 4
BATCH, GAMES, RATE = 16, 20, 10.0
Result = tuple[dict[str, np.ndarray], dict[str, Any]]  # what is learned from a rollout, and its line in the ledger


class Purpose(IntEnum):
    """What a stream of random numbers is for."""

    NOISE = 0
    ICE = 1


def try_noise(table: np.ndarray, seed: int, update: int, index: int) -> Result:
    """One rollout: a function of its arguments, whoever computes it."""
    noise = Stream(seed, Purpose.NOISE, update, index).uniforms(FIELDS * MOVES).reshape(FIELDS, MOVES) - 0.5
    ice = iter(Stream(seed, Purpose.ICE, update, index))
    game = gymnasium.make("FrozenLake-v1", is_slippery=False)  # the ice is ours: the game's own would not be addressed
    more, less = (sum(cross(game, table + sign * noise, ice) for _ in range(GAMES)) for sign in (1.0, -1.0))
    gradient = {"table": (noise * (more - less)).astype(np.float32)}
    return gradient, {"update": update, "index": index, "reward": more + less, "digest": fingerprint(gradient)}


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
    for (_, index), (gradient, _) in results.items():
        total.add(index, gradient)
    step = np.float32(RATE / (BATCH * GAMES)) * total.total()["table"]
    return State(state.update + 1, {"table": state.weights["table"] + step}, {})


def keys_after(state: State) -> list[Key]:
    """The names of the next update's rollouts."""
    return [(state.update + 1, index) for index in range(BATCH)]


# ---- training and replay ----------------------------------------------------------------------------------------


class Walker:
    """The actor: it holds nothing that a rollout could change."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def greet(self) -> str:
        """Ready."""
        return "ready"

    def try_noise(self, weights: dict[str, np.ndarray], update: int, index: int) -> Result:
        """Rollout (update, index)."""
        return try_noise(weights["table"], self._seed, update, index)


def train(run: Path, seed: int, updates: int, actors: int, interrupts: Interrupts) -> None:
    """Begin, or go on from the newest checkpoint that the ledger bears out."""
    ledger, checkpoints = Ledger(run), Checkpoints(run / CHECKPOINTS)
    ledger.cut_torn_lines(print)
    state = checkpoints.newest_good(first_state(), ledger.last_update, print, ledger.digest) or first_state()
    walker = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(Walker)
    with connect(None, actors):
        pool = Pool(RayCluster(walker, seed), PoolSettings(actors, BATCH), Listener(interrupts))
        pool.wait_until_ready()
        while state.update < updates:
            results = dict(pool.run("try_noise", state.weights, keys_after(state)))
            state = learn(state, results)
            commit(state, results, ledger)
            checkpoints.save(state)
            checkpoints.prune(3, state.update)


def commit(state: State, results: dict[Key, Result], ledger: Ledger) -> None:
    """Check an update, then write it down: first its rollouts, then the line that makes it part of the run."""
    lines = [record for _, (_, record) in sorted(results.items(), key=lambda item: item[0])]
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
    ledger, state = Ledger(run), first_state()
    if not ledger.updates:
        raise BadInput(f"{run} holds no update yet: there is nothing to replay.")
    while state.update < ledger.last_update:
        results = {key: try_noise(state.weights["table"], seed, *key) for key in keys_after(state)}
        state = learn(state, results)
        if state.digest() != ledger.digest(state.update):
            raise Differs(f"{run}: update {state.update} has another digest than recorded.")
    print(f"the same: {state.update} updates, weights digest {state.digest()}")


class Listener:
    """What the pool tells, and asks."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.event, self.interrupt = print, interrupts.check

    def refusal(self, greeting: str) -> str:
        """No node is refused here; driver.py asks for the same package versions everywhere."""
        return ""

    def fingerprint(self, value: Result) -> str:
        """A result's name."""
        return str(value[1]["digest"])

    def duplicate(self, key: Key, first: str, second: str) -> None:
        """A rollout came back twice."""
        invariants.a_try_done_twice_is_the_same(first, second, {"update": key[0], "index": key[1]})
