"""Files that may come from anywhere: one sentence and exit code 2, whatever they hold, and little memory."""

import io
import json
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from memory import forget_peak, peak
from real_runs import copied, ends, is_one_sentence
from small_runs import small_settings

import compare
import driver
import replay
import report
from bitexact.cli.exits import BadInput
from bitexact.determinism import process
from bitexact.storage import checkpoints
from bitexact.storage.checkpoints import BadCheckpoint
from bitexact.storage.ledger import EVENTS, METRICS, ROLLOUTS
from training import initial_state, saved_policy

pytest_plugins = ["real_runs"]

MEGABYTE = 1 << 20
CHECKPOINT = "checkpoints/update-00000004.npz"


def is_refused(main: Callable, *arguments: object) -> str:
    ending = ends(main, *arguments)
    assert ending.code == 2, ending
    assert is_one_sentence(ending.sentence)
    return ending.sentence


# ---- checkpoints ------------------------------------------------------------------------------------------------


def npy(shape: tuple[int, ...], dtype: str = "<f4", data: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"shape": shape, "fortran_order": False, "descr": dtype})
    return buffer.getvalue() + data


def archive(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path


def inflating(path: Path) -> Path:
    """400 kB that become 400 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("W1.npy", "w") as member:
        member.write(npy((6400, 16_384)))
        for _ in range(400):
            member.write(bytes(MEGABYTE))
    return path


BOMBS = {
    "one that inflates": inflating,
    "one that claims to be large": lambda path: archive(path, W1=npy((6400, 10**6)), W2=npy((10**6,))),
    "a shape beyond any memory": lambda path: archive(path, W1=npy((2**40, 2**20)), W2=npy((2**20,))),
    "a shape below zero": lambda path: archive(path, W1=npy((-1, 4)), W2=npy((4,))),
    "many hidden units alone": lambda path: archive(path, W2=npy((100_000,), data=b"\0" * 400_000)),
    "a thousand arrays": lambda path: archive(path, **{f"a{n}": npy(()) for n in range(1001)}),
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_checkpoint_that_is_larger_than_it_should_be_is_refused_before_it_is_read(run, tmp_path, bomb):
    alone = bomb(tmp_path / "bomb.npz")
    (run / CHECKPOINT).write_bytes(alone.read_bytes())
    before = forget_peak()
    like = initial_state.outline(small_settings(tmp_path))
    for load in (checkpoints.load, checkpoints.load_weights):
        with pytest.raises(BadCheckpoint):
            load(alone, like)
    with pytest.raises(BadInput):
        saved_policy.load(alone, print)
    told: list[str] = []
    assert saved_policy.load(run, told.append).update == 2
    assert len(told) == 1
    assert told[0].startswith(str(run / CHECKPOINT))
    assert peak() - before < 64 * MEGABYTE


def test_an_array_that_nobody_knows_is_refused_by_name(tmp_path):
    state = initial_state.from_seed(small_settings(tmp_path))
    strange = type(state)(0, state.weights | {"W9": np.zeros(1, np.float32)}, state.optimizer)
    checkpoints.write(tmp_path / "strange.npz", strange)
    with pytest.raises(BadCheckpoint, match=r"damaged \(nobody knows its 'W9'\)"):
        checkpoints.load(tmp_path / "strange.npz", state)
    checkpoints.write(tmp_path / "less.npz", type(state)(0, state.weights, {"cache_W1": state.optimizer["cache_W1"]}))
    with pytest.raises(BadCheckpoint, match=r"damaged \(it lacks cache_W2\)"):
        checkpoints.load(tmp_path / "less.npz", state)


def test_a_run_is_evaluated_with_what_its_ledger_bears_out(run):
    text = (run / METRICS).read_text().splitlines(keepends=True)
    last = json.loads(text[3])
    (run / METRICS).write_text("".join([*text[:3], json.dumps(last | {"weights_digest": "0" * 64}) + "\n"]))
    told: list[str] = []
    assert saved_policy.load(run, told.append).update == 2
    assert told == [f"{run / CHECKPOINT} has another digest than the ledger's update 4; the one before it is used"]
    (run / METRICS).write_text("".join(text[:3]))
    told.clear()
    assert saved_policy.load(run, told.append).update == 2
    assert told == [f"{run / CHECKPOINT} is not used: the ledger ends at update 3"]


# ---- ledger and properties: configs are in tests/test_bad_input.py ----------------------------------------------

DEEP = "[" * 100_000


@pytest.mark.parametrize("name", [METRICS, ROLLOUTS, EVENTS, "config.json"])
@pytest.mark.parametrize("flags", [("--resume",), ("--overwrite",), ()])
def test_a_folder_in_the_place_of_a_file_is_named(run, name, flags):
    (run / name).unlink(missing_ok=True)
    (run / name).mkdir()
    assert name in is_refused(driver.main, *flags, f"--run-dir={run}")


@pytest.mark.parametrize("name", [METRICS, ROLLOUTS])
def test_a_folder_in_the_place_of_the_ledger_is_named_by_who_reads_it(run, undisturbed, name):
    (run / name).unlink()
    (run / name).mkdir()
    assert name in is_refused(replay.main, run, "--all")
    assert name in is_refused(compare.main, run, undisturbed)


STRANGE_LINES = {
    "nested too deep": DEEP,
    "a message that is a list": json.dumps(
        {"antithesis_assert": {"message": [], "assert_type": "always", "condition": True, "hit": True}}
    ),
    "half a character": json.dumps(
        {"antithesis_assert": {"message": "\ud800", "assert_type": "always", "condition": False, "hit": True}}
    ),
    "longer than any": " " * 3_000_000,
}


@pytest.mark.parametrize("line", STRANGE_LINES.values(), ids=STRANGE_LINES)
def test_a_line_of_the_properties_that_cannot_be_used_is_named(undisturbed, tmp_path, line):
    run = copied(undisturbed, tmp_path / "run")
    (run / "properties" / "zz.jsonl").write_text(f"\n{line}\n".lstrip("\n"))
    ending = ends(report.main, run, f"--html={tmp_path / 'page.html'}")
    assert f"{run / 'properties' / 'zz.jsonl'} line 1 is damaged" in ending.output
    assert "Traceback" not in ending.output


# ---- too little memory ------------------------------------------------------------------------------------------


def test_more_hidden_units_than_memory_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "memory_left", lambda: 2 << 30)
    sentence = is_refused(driver.main, "--hidden-units=100000", f"--run-dir={tmp_path / 'run'}")
    assert sentence.startswith("--hidden-units=100000 takes ")
    assert not (tmp_path / "run").exists()


def test_memory_left_is_no_more_than_the_address_space():
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    try:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 40, hard))
        assert 0 < process.memory_left() < 1 << 40
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
