"""Plants a bug in a container's Python, named by PLANTED_BUG: Python imports this file by itself when it starts.

Each bug begins with update 3, so that the cluster stands and setup is complete before it shows. The product knows
nothing of them: a module is patched just after it was imported.
"""

import importlib.abc
import importlib.util
import os
import sys

BEGINS_AT = 3


def count_a_rollout_twice(pool):
    run = pool.Pool.run

    def counting_twice(self, task, shared, keys):
        for number, (key, value) in enumerate(run(self, task, shared, keys)):
            yield key, value
            if number == 0 and key.update >= BEGINS_AT:
                yield key, value

    pool.Pool.run = counting_twice


def play_with_stale_weights(pool):
    run = pool.Pool.run
    first = {}

    def with_stale_weights(self, task, shared, keys):
        keys = list(keys)
        first.setdefault("weights", shared)
        yield from run(self, task, first["weights"] if keys[0].update >= BEGINS_AT else shared, keys)

    pool.Pool.run = with_stale_weights


def take_too_large_steps(ppo_batch):
    learn = ppo_batch.PPOBatch._learn

    def too_large(self):
        learned = learn(self)
        if self.update >= BEGINS_AT:
            learned.weights["W2"][0] += 100
        return learned

    ppo_batch.PPOBatch._learn = too_large


def lose_the_optimizer_state(checkpoints):
    load = checkpoints.Checkpoints.load

    def without_cache(self, update, like, *more):
        state = load(self, update, like, *more)
        return type(state)(state.update, state.weights, like.optimizer)

    checkpoints.Checkpoints.load = without_cache


def draw_sticky_actions_from_the_clock(game):
    reset = game.Pong.reset

    def from_the_clock(self, *, seed=None, options=None):
        outcome = reset(self, seed=seed, options=options)
        if (options or {}).get("update", 0) >= BEGINS_AT:
            self._sticky = iter(lambda: int.from_bytes(os.urandom(4)) / 2**32, None)
        return outcome

    game.Pong.reset = from_the_clock


def write_a_line_twice(ledger):
    commit = ledger.Ledger.commit

    def twice(self, metrics, rollouts):
        commit(self, metrics, rollouts)
        if metrics["update"] >= BEGINS_AT:
            ledger.durable.append(self._directory / ledger.METRICS, ledger.encode(metrics))

    ledger.Ledger.commit = twice


def forget_the_score(game):
    score = game.Pong.score

    def forgetful(self):
        points = score(self)
        return points if max(points) < 10 else (0, 0)

    game.Pong.score = forgetful


def raise_an_exception(recorder):
    def commit(self, *_):
        raise ZeroDivisionError("planted")

    recorder.Recorder.commit = commit


BUGS = {
    "exception": ("training.recorder", raise_an_exception),
    "rollout-twice": ("bitexact.cluster.pool", count_a_rollout_twice),
    "stale-weights": ("bitexact.cluster.pool", play_with_stale_weights),
    "large-steps": ("training.ppo_batch", take_too_large_steps),
    "lost-optimizer-state": ("bitexact.storage.checkpoints", lose_the_optimizer_state),
    "clock-for-dice": ("pong.game", draw_sticky_actions_from_the_clock),
    "line-twice": ("bitexact.storage.ledger", write_a_line_twice),
    "forgotten-score": ("pong.game", forget_the_score),
}


class _Planter(importlib.abc.MetaPathFinder):
    """Patches one module just after it was executed."""

    def __init__(self, name, plant):
        self._name, self._plant = name, plant

    def find_spec(self, name, path=None, target=None):
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def and_plant(module):
            execute(module)
            self._plant(module)

        spec.loader.exec_module = and_plant
        return spec


if os.environ.get("PLANTED_BUG"):
    sys.meta_path.insert(0, _Planter(*BUGS[os.environ["PLANTED_BUG"]]))
