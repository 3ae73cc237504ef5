"""What equal bits cost: each kernel on the way to the weights against the fastest one that promises nothing.

    python -m benchmarks.run --only equal-bits

One update of the default preset is played and learned from, from the trained weights. Then each of its products, sums
and exponentials takes turns, on that update's own numbers, with others that compute the same in any order: BLAS,
`np.exp`, NumPy's sums. Both find the same numbers, up to rounding. Times are a process's CPU time with one thread of
BLAS, the least of all rounds: what disturbs only adds. Element-wise operations (all of Adam's) are the same either way.
"""

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import _sparsetools

from benchmarks.driver_work import Recorded
from benchmarks.figures import Figure, Result
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.exact_math import dot, norm, sigmoids, standardise, sum_rows
from bitexact.storage.state import State
from policy import Forward
from pong.game import Pong
from pong.play import RolloutId, play
from training import initial_state, saved_policy
from training.adam import Adam, gather_rows
from training.ppo import find_inputs_in_use
from training.rollout_task import task_of
from training.settings import PPO, Settings, of_preset
from training.steps import GameSteps, Steps, minibatches
from training.update import new_batch

_ROOT = Path(__file__).resolve().parent.parent
_WEIGHTS = _ROOT / "pretrained" / "pong.npz"
_ACTORS = 2  # they play side by side, so that a second of one of them is half a second of an update
_ROUNDS = 40


class Kernel(NamedTuple):
    """One thing that is computed, by the function on the way to the weights and by the fastest others."""

    what: str
    calls: float  # of an update, as far as the update waits for them
    ours: Callable[[], Any]
    free: dict[str, Callable[[], Any]]


def measure(smallest: bool) -> Result:
    """Milliseconds of an update, kernel by kernel, and their sum's share of it; in a process with one thread."""
    command = [sys.executable, "-m", "benchmarks.equal_bits", *(["1", "1"] if smallest else ["10", str(_ROUNDS)])]
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=_ROOT, env=one_thread, stdout=subprocess.PIPE, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    figures, added_ms = [], 0.0
    for what, calls, ours_s, fastest, fastest_s in found["kernels"]:
        figures.append(Figure(f"{what}: {calls:,.0f} times, ours", 1e3 * calls * ours_s, "ms"))
        figures.append(Figure(f"{what}: {calls:,.0f} times, the fastest ({fastest})", 1e3 * calls * fastest_s, "ms"))
        added_ms += 1e3 * calls * (ours_s - fastest_s)
    figures.append(Figure("equal bits, of an update", added_ms / found["update_s"] / 10.0, "%", at_most=5.0))
    figures.append(Figure("an update: learning, and half of all playing", found["update_s"], "s"))
    return Result(figures, found)


def _found(batch_size: int, rounds: int) -> dict[str, Any]:
    settings = of_preset(PPO, batch_size=batch_size)
    state = initial_state.from_weights(settings, saved_policy.load(_WEIGHTS, print).weights)
    recorded, playing_s = _played(settings, state)
    learning_s = min(_learning_s(settings, state, recorded) for _ in range(min(rounds, 5)))
    games = [result for result, _ in recorded]
    kernels = [*_of_learning(games, state.weights), *_of_playing(games, state.weights)]
    times = [in_turns(kernel, rounds) for kernel in kernels]
    return {"update_s": learning_s + playing_s / _ACTORS, "kernels": times}


def _played(settings: Settings, state: State) -> tuple[Recorded, float]:
    """A batch, and the seconds that its steps take at the pace of the quickest game."""
    task, game, recorded, paces = task_of(settings), Pong(), [], []
    for index in range(settings.batch_size):
        began = time.process_time()
        recorded.append(task.run(game, state.weights, RolloutId(settings.seed, state.update + 1, index)))
        paces.append((time.process_time() - began) / recorded[-1][1].steps)
    return recorded, min(paces) * sum(record.steps for _, record in recorded)


def _learning_s(settings: Settings, state: State, recorded: Recorded) -> float:
    batch = new_batch(settings, state)
    for result, record in recorded:
        batch.add(result, record)
    began = time.process_time()
    batch.learn()
    return time.process_time() - began


def in_turns(kernel: Kernel, rounds: int) -> tuple[str, float, float, str, float]:
    """The kernel's name and calls, seconds of ours, and which is the fastest of all, ours among them, in seconds."""
    ways = {"ours": kernel.ours, **kernel.free}
    expected = kernel.ours()
    for found in (function() for function in kernel.free.values()):
        for theirs, own in zip(_flat(found), _flat(expected), strict=True):
            np.testing.assert_allclose(theirs, own, rtol=1e-3, atol=1e-4 * float(np.max(np.abs(own))))
    least = dict.fromkeys(ways, math.inf)
    for _ in range(rounds):
        for name, function in ways.items():
            began = time.process_time()
            function()
            least[name] = min(least[name], time.process_time() - began)
    fastest = min(least, key=lambda name: least[name])
    return kernel.what, kernel.calls, least["ours"], fastest, least[fastest]


def _flat(found: Any) -> list[np.ndarray]:
    return [np.asarray(each) for each in (found if isinstance(found, tuple) else (found,))]


def _of_learning(games: list[GameSteps], weights: Arrays) -> Iterator[Kernel]:
    """A minibatch's kernels, as in ppo.py and ppo_batch.py, and the batch's advantages."""
    settings, whole = of_preset(PPO), Steps.of(games, len(weights["W1"]))
    inputs = find_inputs_in_use(whole, Adam.initial(weights))
    narrow = gather_rows(weights, inputs)
    parts = minibatches(len(whole), settings.minibatch_size, seed=0, update=1, epoch=0)
    x, calls = whole.narrow(inputs).choose(parts[0]).observations, settings.epochs * len(parts)
    dense, heads = x.toarray(), np.stack([narrow["W2"], narrow["V"]], axis=1)
    hidden = np.maximum(x @ narrow["W1"], 0.0)
    logits = dot(hidden, narrow["W2"])
    columns = np.stack([sigmoids(logits), logits], axis=1).astype(np.float32) / np.float32(len(logits))
    dlogits, dvalues = columns[:, :1].copy(), columns[:, 1:].copy()
    dhidden = dlogits * narrow["W2"] + dvalues * narrow["V"]
    w1 = x.T @ dhidden
    advantages = np.concatenate([game.advantages for game in games])
    listed = advantages.tolist()

    yield Kernel("hidden units", calls, lambda: x @ narrow["W1"], {"BLAS": lambda: dense @ narrow["W1"]})
    both = lambda: (dot(hidden, narrow["W2"]), dot(hidden, narrow["V"]))  # noqa: E731
    yield Kernel("logits and values", calls, both, {"BLAS": lambda: tuple((hidden @ heads).T)})
    yield Kernel("sigmoids", calls, lambda: sigmoids(logits), {"np.exp": lambda: 1.0 / (1.0 + np.exp(-logits))})
    yield Kernel("gradient of W1", calls, lambda: x.T @ dhidden, {"BLAS": lambda: dense.T @ dhidden})
    sums = lambda: (sum_rows(hidden * dlogits), sum_rows(hidden * dvalues))  # noqa: E731
    yield Kernel("gradients of W2 and V", calls, sums, {"BLAS": lambda: tuple((hidden.T @ columns).T)})
    length = lambda: math.sqrt(np.vdot(w1, w1))  # noqa: E731
    yield Kernel("length of the gradient", calls, lambda: norm({"W1": w1}), {"BLAS": length})
    free = {"np.mean, np.std": lambda: (advantages - advantages.mean()) / advantages.std()}
    yield Kernel("advantages standardised", 1, lambda: standardise(listed), free)


def _of_playing(games: list[GameSteps], weights: Arrays) -> Iterator[Kernel]:
    """A step's forward pass, as in policy.py, with a game's median number of inputs; a game's values."""
    counts = np.concatenate([game.counts for game in games])
    usual = int(np.median(counts))
    pixels, signs = games[0].inputs[:usual].astype(np.intp), games[0].signs[:usual].astype(np.float32)
    w1, w2, units = weights["W1"], weights["W2"], len(weights["W2"])
    forward, ends = Forward(weights), np.array([0, usual], np.intp)

    def gathered() -> float:
        return _probability(np.maximum(signs @ w1[pixels], 0.0), w2)

    def added() -> float:
        hidden = np.zeros(units, np.float32)
        _sparsetools.csr_matvecs(1, len(w1), units, ends, pixels, signs, w1, hidden)
        return _probability(np.maximum(hidden, 0.0, out=hidden), w2)

    free: dict[str, Callable[[], Any]] = {"BLAS, math.exp": gathered, "SciPy, BLAS, math.exp": added}
    yield Kernel("a step's probability", len(counts) / _ACTORS, lambda: forward(pixels, signs)[0], free)
    trajectory = play(Pong(), weights, RolloutId(0, 1, 0))
    values = {"BLAS": lambda: trajectory.hidden @ weights["V"]}
    yield Kernel("a game's values", len(games) / _ACTORS, lambda: dot(trajectory.hidden, weights["V"]), values)


def _probability(hidden: np.ndarray, w2: np.ndarray) -> float:
    return 1.0 / (1.0 + math.exp(-float(hidden @ w2)))


if __name__ == "__main__":
    print(json.dumps(_found(*map(int, sys.argv[1:]))))
