"""One digest: what an update gives depends on the seed, the settings and the package versions, and on nothing else.

The digests below were computed once, on one machine. Each test comes to them in another way: other processors, BLAS
libraries and hash seeds, as far as one machine can play them; more or fewer actors; runs stopped, killed and resumed.
"""

import ctypes
import functools
import hashlib
import json
import math
import os
import platform
import random
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import (
    GOLDEN_SETTINGS,
    PPO_SETTINGS,
    ROOT,
    Digests,
    command,
    contents,
    digests_without_ray,
    finished,
    lines,
    recorded_digests,
    resume_command,
    running,
)

from training.settings import DECIDE_THE_RESULT

# To compute them anew after a change that is meant to change them:
# PYTHONPATH=.:tests python -c "import commands as c; print(c.digests_without_ray(2, **c.GOLDEN_SETTINGS))"
# and the same with c.PPO_SETTINGS
GOLDEN = [
    Digests(
        weights="4d88d09aadf7a1aef7078d0b64e2f45785e7e3a5f6009a7a3fe4ce5d1597bb9a",
        rollouts=[
            "7af76eec5157790a685812b69f6e343c",
            "5e288d8fbefecacfb50316d97fdc2f5d",
            "29c3146dd75ad0ce9f6313fd9fe67304",
        ],
    ),
    Digests(
        weights="c134124d8527b53cc258a46e10377b008ca56cbb256f53babe0c9654a0006888",
        rollouts=[
            "3a9017bff754ac19e85a9db89be68497",
            "542f096002e561deaacb32d2683a8a1c",
            "734a152824d53f7e1b20ead91e127a0e",
        ],
    ),
]

GOLDEN_PROXIMAL = [
    Digests(
        weights="993e6fab7ef3a5ef54b40c100e370fbbf716e0c6bb4b73b25db5af7ae9aa99c6",
        rollouts=[
            "24d10c408b93a4ba1b05cab8ec9f8909",
            "80a04d33490d0a6712fdb3460a3b6438",
            "33c24b66441b8136680fb1edb9d4a3da",
        ],
    ),
    Digests(
        weights="951dad131eecd76f35746961d33376334138f933baea7b9c8b3841d0d8fd5f5d",
        rollouts=[
            "8a2b501a4e5f6db95a8ac02b3f28e1c2",
            "eabb26d73d83f0221de2008659ffcde7",
            "23345c66c75dbb91610c34307f3f2f2d",
        ],
    ),
]

# A run that is cheap to resume many times.
CHEAP = {"batch_size": 2, "hidden_units": 16}
CHEAP_FLAGS = ("--batch-size=2", "--hidden-units=16", "--checkpoint-every=2")


# ---- without Ray: other processors and libraries ------------------------------------------------------------------


class Variant(NamedTuple):
    """A process that computes floats, or orders, in another way than the plain one."""

    environment: dict[str, str]
    witness: str  # a result that is other bits in it
    needs: str = ""  # what /proc/cpuinfo must list for the witness to differ, or for the variant to run at all


PLAIN = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
VARIANTS = {
    "BLAS for AVX-512": Variant({"OPENBLAS_CORETYPE": "SkylakeX"}, "matrix product", "avx512f"),
    "BLAS for SSE": Variant({"OPENBLAS_CORETYPE": "Nehalem"}, "matrix product", "avx2"),
    "BLAS in two threads": Variant({"OPENBLAS_NUM_THREADS": "2"}, "BLAS threads"),
    "NumPy for SSE": Variant({"NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL"}, "numpy.exp", "avx2"),
    "NumPy for AVX2": Variant({"NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL"}, "numpy.exp of float64", "avx512f"),
    "libm without FMA": Variant(
        {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-FMA,-AVX2_Usable,-AVX2,-AVX512F,-AVX512VL"}, "math.exp", "fma"
    ),
    "another hash seed": Variant({"PYTHONHASHSEED": "1"}, "hash"),
}

on_x86_64 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the promise is for x86-64")


@pytest.fixture(scope="session")
def reports() -> dict[str, dict[str, Any]]:
    """What each variant, and the plain process, computes: as many at a time as there are CPUs."""
    environments = {name: PLAIN | variant.environment for name, variant in VARIANTS.items() if runs(variant)}
    environments["plain"] = PLAIN
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as workers:
        return dict(zip(environments, workers.map(report_of, environments.values()), strict=True))


def report_of(environment: dict[str, str]) -> dict[str, Any]:
    path = os.pathsep.join((str(ROOT), str(ROOT / "tests")))
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, **environment, "PYTHONPATH": path},
        capture_output=True,
        check=True,
        timeout=200,
    )
    return json.loads(done.stdout)


def runs(variant: Variant) -> bool:
    return variant.needs in cpu_flags()


@functools.cache
def cpu_flags() -> frozenset[str]:
    """What this processor can do; and nothing, which any processor can."""
    found = [line.split() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags")]
    return frozenset({"", *(found[0] if found else [])})


def test_the_digests_are_the_recorded_ones():
    assert digests_without_ray(2, **GOLDEN_SETTINGS) == GOLDEN
    assert {*PPO_SETTINGS, "decay_rate"} == set(DECIDE_THE_RESULT), "or a new default would change them"
    assert digests_without_ray(2, **PPO_SETTINGS) == GOLDEN_PROXIMAL


@on_x86_64
@pytest.mark.parametrize("name", ["plain", *VARIANTS])
def test_the_digests_do_not_depend_on_processor_libraries_or_hash_seed(reports, name):
    if name not in reports:
        pytest.skip(f"this processor lacks {VARIANTS[name].needs}")
    assert [Digests(*digests) for digests in reports[name]["digests"]] == [GOLDEN[0], GOLDEN_PROXIMAL[0]]


@on_x86_64
@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_does_change_something(reports, name):
    """Otherwise equal digests would say nothing."""
    if name not in reports:
        pytest.skip(f"this processor lacks {VARIANTS[name].needs}")
    witness = VARIANTS[name].witness
    assert reports[name]["witnesses"][witness] != reports["plain"]["witnesses"][witness]


@pytest.mark.parametrize("change", [{"seed": 1}, {"learning_rate": 1e-4}, {"discount": 0.9}, {"decay_rate": 0.9}])
def test_the_digests_depend_on_each_setting_that_decides_the_result(change):
    reinforce = {**CHEAP, "preset": "reinforce"}
    assert digests_without_ray(1, **reinforce, **change)[0].weights != digests_without_ray(1, **reinforce)[0].weights


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate_end": 1e-3},
        {"entropy_coef": 0.03},
        {"entropy_coef_end": 0.02},
        {"temperature_end": 0.5},
        {"anneal_updates": 10},
        {"epochs": 2},
        {"minibatch_size": 1000},
        {"clip": 0.01},
        {"gae_lambda": 0.9},
        {"value_coef": 0.4},
        {"max_grad_norm": 0.01},
    ],
)
def test_the_digests_depend_on_each_setting_of_the_proximal_preset(change):
    assert digests_without_ray(2, **CHEAP, **change)[1].weights != digests_without_ray(2, **CHEAP)[1].weights


def witnesses() -> dict[str, Any]:
    """Results that do depend on processor, libraries and hash seed."""
    x = np.random.Generator(np.random.Philox(1)).random(20_000) * 20.0 - 10.0
    a = x.astype(np.float32)
    return {
        "numpy.exp": digest(np.exp(a)),
        "numpy.exp of float64": digest(np.exp(x)),
        "math.exp": digest(np.array([math.exp(value) for value in x])),
        "matrix product": digest(a.reshape(100, 200) @ a.reshape(200, 100)),
        "BLAS threads": blas_threads(),
        "hash": hash("pong"),
    }


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


def blas_threads() -> int:
    (library,) = (Path(np.__file__).parent.parent / "numpy.libs").glob("libscipy_openblas*")
    return ctypes.CDLL(str(library)).scipy_openblas_get_num_threads64_()


# ---- with Ray: actors, stops, kills -------------------------------------------------------------------------------


def trained(directory: Path, *arguments: str) -> list[Digests]:
    done = finished(f"--run-dir={directory}", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return recorded_digests(directory)


def test_the_driver_gives_the_recorded_digests(golden_run):
    """Three actors for three rollouts, in whatever order they end."""
    assert recorded_digests(golden_run.directory) == GOLDEN


@pytest.mark.slow
@pytest.mark.parametrize("actors", [1, 2, 7])
def test_the_digests_do_not_depend_on_the_number_of_actors(tmp_path, actors):
    flags = ("--batch-size=7", "--hidden-units=16", "--updates=2", f"--actors={actors}")
    assert trained(tmp_path / "run", *flags) == digests_without_ray(2, batch_size=7, hidden_units=16)


@pytest.mark.slow
def test_a_run_resumed_at_every_update_ends_in_the_same_digests(tmp_path):
    for update in range(1, 6):
        how = CHEAP_FLAGS if update == 1 else ("--resume",)
        found = trained(tmp_path / "run", *how, f"--updates={update}", f"--actors={1 + update % 2}")
        assert found == digests_without_ray(5, **CHEAP)[:update]


@pytest.mark.slow
def test_a_run_stopped_at_every_update_ends_in_the_same_digests(tmp_path):
    directory, words = tmp_path / "run", [sys.executable, str(ROOT / "driver.py"), *CHEAP_FLAGS]
    words.append(f"--run-dir={directory}")
    for update in range(1, 5):
        with command(words) as driver:
            driver.wait_for_update(update)
            driver.send(signal.SIGTERM)
            assert driver.wait() == 128 + signal.SIGTERM
            words = resume_command(driver.err)
    found = recorded_digests(directory)
    assert len(found) >= 4
    assert found == digests_without_ray(len(found), **CHEAP)


@pytest.mark.slow
def test_a_run_killed_at_any_moment_loses_nothing_and_ends_in_the_same_digests(tmp_path):
    directory, moments = tmp_path / "run", random.Random(0)
    before: list[Digests] = []
    for kill in range(5):
        how = ("--resume",) if (directory / "config.json").exists() else CHEAP_FLAGS
        with running(f"--run-dir={directory}", *how) as driver:
            driver.wait_for_update(len(before) + 1)
            wait_for_more_of_the_ledger(driver, directory, moments.randrange(1, 3000))
            driver.send(signal.SIGKILL)
            assert driver.wait() == -signal.SIGKILL
        found = recorded_digests(directory)
        assert found[: len(before)] == before, f"after kill {kill}"
        assert len(found) > len(before)
        before = found
    found = trained(directory, "--resume", f"--updates={len(before) + 1}")
    assert found == digests_without_ray(len(before) + 1, **CHEAP)
    assert_done_again(directory)


def wait_for_more_of_the_ledger(driver: Any, directory: Path, more: int) -> None:
    """A moment that has to do with what the run does, not with how fast this machine is."""

    def length() -> int:
        return sum((directory / name).stat().st_size for name in ("metrics.jsonl", "rollouts.jsonl"))

    wanted = length() + more
    driver.wait_for(lambda: length() >= wanted, f"{more} more bytes of ledger")


def assert_done_again(directory: Path) -> None:
    """The kills did fall between checkpoints: what was computed again had its recorded digest."""
    seen = [line for path in (directory / "properties").iterdir() for line in lines(path)]
    hits = {line["antithesis_assert"]["message"] for line in seen if line.get("antithesis_assert", {}).get("hit")}
    assert "An update computed again has its recorded digest" in hits


@pytest.mark.slow
def test_the_readme_names_the_digests_of_the_default_settings():
    named = re.findall(r"update (\d+) .*digest ([0-9a-f]{12})", (ROOT / "README.md").read_text())
    found = digests_without_ray(5)
    assert [number for number, _ in named] == ["1", "2", "5"]
    assert [digest for _, digest in named] == [found[int(number) - 1].weights[:12] for number, _ in named]


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(tmp_path):
    directory = tmp_path / "run"
    trained(directory, *CHEAP_FLAGS, "--updates=2")
    kept = result(directory)
    trained(directory, "--resume")
    assert result(directory) == kept


def result(directory: Path) -> dict[str, bytes | None]:
    """What is in a run directory, less what says how the run went."""
    return {k: v for k, v in contents(directory).items() if not k.startswith(("properties", "events.jsonl"))}


if __name__ == "__main__":
    found = digests_without_ray(1, **GOLDEN_SETTINGS) + digests_without_ray(1, **PPO_SETTINGS)
    print(json.dumps({"digests": found, "witnesses": witnesses()}))
