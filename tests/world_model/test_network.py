"""The network that plays is the one that was trained: ordered sums against JAX, step by step against windows."""

import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from world_model import learned_network
from world_model.dream import Dream
from world_model.model import load
from world_model.network import ModelType, Network, Shape, exponentials, normed, product
from world_model.training_run import initial_weights

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("model_type", ["rnn", "transformer"])
def test_step_by_step_in_numpy_is_the_window_in_jax(model_type: ModelType) -> None:
    shape = Shape(model_type, inputs=11, outputs=7, units=16, head_units=24, window=4)
    random = np.random.default_rng(0)
    weights = {
        name: random.normal(0, 0.3, array.shape).astype(np.float32) for name, array in initial_weights(shape, 0).items()
    }
    features = random.normal(size=(5, 12, 11)).astype(np.float32)
    expected = learned_network.outputs(
        shape, {name: jnp.asarray(one) for name, one in weights.items()}, jnp.asarray(features)
    )
    network, found = Network(shape, weights), []
    memory = network.initial(5)
    for step in range(12):
        memory, out = network(memory, features[:, step].astype(np.float64))
        found.append(out)
    np.testing.assert_allclose(np.stack(found, axis=1), np.asarray(expected), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("model_type", ["rnn", "transformer"])
def test_games_do_not_see_one_another(model_type: ModelType) -> None:
    shape = Shape(model_type, inputs=11, outputs=7, units=16, head_units=24)
    random = np.random.default_rng(1)
    network = Network(shape, {name: random.normal(0, 0.3, size) for name, size in shape.weights().items()})
    features = random.normal(size=(6, 4, 11))
    features[features < 0.5] = 0.0
    together, alone = network.initial(4), network.initial(1)
    for step in features:
        together, all_out = network(together, step)
        alone, one_out = network(alone, step[2:3])
        assert (all_out[2] == one_out[0]).all()


def test_exact_functions_are_what_their_names_say() -> None:
    random = np.random.default_rng(2)
    values = -np.abs(random.normal(0, 20, 1000))
    np.testing.assert_allclose(exponentials(values), np.exp(values), rtol=1e-14)
    x, w = random.normal(size=(3, 9)), random.normal(size=(9, 4))
    np.testing.assert_allclose(product(x, w), x @ w, rtol=1e-12)
    np.testing.assert_allclose((normed(x) ** 2).mean(axis=1), 1.0, rtol=1e-3)


DREAM = """
import hashlib, sys
import numpy as np
from pathlib import Path
from world_model.dream import Dream
from world_model.model import load
dream = Dream(load(Path(sys.argv[1])), games=3, temperature=0.7)
digest, random = hashlib.sha256(dream.reset(11).tobytes()), np.random.default_rng(0)
for _ in range(400):
    states, events = dream.step(*random.integers(-1, 2, (2, 3)))
    digest.update(states.tobytes() + events.tobytes())
print(digest.hexdigest())
assert "jax" not in sys.modules
"""

VARIANTS = [
    {},
    {"OPENBLAS_CORETYPE": "Nehalem", "OPENBLAS_NUM_THREADS": "2"},
    {"NPY_DISABLE_CPU_FEATURES": "AVX512F AVX512CD AVX512_SKX AVX2 FMA3"},
    {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"},
]


def test_a_dream_is_the_same_to_the_bit_under_other_processor_flags(small_model: Path) -> None:
    digests = set()
    for variant in VARIANTS:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", DREAM, str(small_model)],
            env={**os.environ, **variant},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


def test_a_dream_replays_and_its_games_differ(small_model: Path) -> None:
    first, second = (Dream(load(small_model), games=2, temperature=1.0) for _ in range(2))
    assert (first.reset(5) == second.reset(5)).all()
    for _ in range(50):
        ones, zeros = np.ones(2), np.zeros(2)
        states, _ = first.step(ones, zeros)
        assert (states == second.step(ones, zeros)[0]).all()
    assert (states[0] != states[1]).any()
