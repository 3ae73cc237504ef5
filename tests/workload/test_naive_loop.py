"""The naive loop breaks where its page says so, and the mended one holds; both take the same steps."""

import re

import numpy as np
import pytest
from commands import ROOT, finished

from examples import mended, naive_pong
from examples.loop import Key, result
from workload.naive_loop import FAULTS

PAGE = (ROOT / "docs" / "naive-loop.md").read_text()


def gradients() -> dict[int, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    like = naive_pong.Model(0).weights
    return {index: {name: random.normal(size=one.shape) for name, one in like.items()} for index in range(mended.BATCH)}


def test_the_mended_loop_takes_the_naive_loops_step_whatever_the_order_of_arrival():
    model = naive_pong.Model(seed=1)
    model.step({name: sum(one[name] for one in gradients().values()) for name in model.weights})
    first = mended.first_state(seed=1)
    before = first.digest()
    results = {Key(1, index): result(Key(1, index), one, 0.0) for index, one in gradients().items()}
    states = [mended.learn(first, dict(order)) for order in (results.items(), reversed(results.items()))]
    assert states[0].digest() == states[1].digest()
    assert first.digest() == before
    for name, array in model.weights.items():
        np.testing.assert_allclose(states[0].weights[name], array, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(states[0].optimizer[mended.CACHE + name], model.cache[name], rtol=1e-12, atol=1e-15)


def test_the_page_has_a_line_for_each_fault():
    rows = re.findall(r"^\| ([a-z -]+) \| (.+) \| (.+) \|$", PAGE.split("<!-- table ends -->")[0], re.MULTILINE)
    assert [name for name, *_ in rows] == ["fault", *(fault.replace("-", " ") for fault in FAULTS)]


@pytest.mark.slow
@pytest.mark.timeout(700)
def test_an_actor_that_is_killed_ends_the_naive_loop_and_not_the_mended_one():
    done = finished("--only=actor-killed", program="workload.naive_loop", limit_s=600.0)
    assert done.returncode == 0, done.stderr
    _, naive, ours, _ = re.split(r" *\| *", done.stdout.splitlines()[-1])[1:]
    assert naive.startswith("ends after ")
    assert ours.startswith("goes on: ")
    assert ours.endswith(" equal bits")
