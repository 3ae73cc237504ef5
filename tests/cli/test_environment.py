"""An environment in which Ray cannot start: one sentence, the documented code, soon, and nothing that is in the way."""

import os
import resource
import shlex
import signal
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import ray
from commands import (
    DRIVER,
    ROOT,
    assert_one_sentence,
    command,
    contents,
    digests_without_ray,
    patience,
    recorded_digests,
)

from bitexact.cli import process_environment
from bitexact.cli.exits import BadInput, Interrupted
from bitexact.cli.interrupts import Interrupts
from bitexact.cluster import ray_session

SETTINGS = ["--updates=1", "--batch-size=2", "--hidden-units=2"]
READ_ONLY = "mount --bind {folder} {folder} && mount -o remount,ro,bind {folder} && "
WITHIN_S = 15.0


def ends(run: Path, before: str, *prefix: str) -> tuple[int, str]:
    """driver.py with a run directory, after a shell's commands: its exit code and what it says, within the limit."""
    driver = shlex.join([sys.executable, str(DRIVER), *SETTINGS, f"--run-dir={run}"])
    began = time.monotonic()
    with command([*prefix, "bash", "-c", f"{before} exec {driver}"]) as started:
        code, err = started.wait(), started.err
        assert time.monotonic() - began < patience(WITHIN_S)
    return code, err


def skip_unless_mounted(err: str) -> None:
    if "unshare:" in err or "mount:" in err:
        pytest.skip(f"nothing can be mounted here: {err}")


@pytest.mark.parametrize(
    ("run", "before", "words"),
    [
        pytest.param("run-\udcff", "", ["run-\\udcff is no UTF-8"], id="a name that is no UTF-8"),
        pytest.param("run", "ulimit -v 2500000;", ["3 GiB of address space", "2.4", "ulimit -v"], id="address space"),
    ],
)
def test_what_ray_cannot_start_with_is_one_sentence_and_leaves_nothing(tmp_path, run, before, words):
    code, err = ends(tmp_path / run, before)
    assert_one_sentence(code, err, *words)
    assert code == 2
    assert contents(tmp_path) == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system read-only")
def test_a_read_only_file_system_is_4(tmp_path):
    code, err = ends(tmp_path / "run", READ_ONLY.format(folder=shlex.quote(str(tmp_path))), "unshare", "--mount")
    skip_unless_mounted(err)
    assert_one_sentence(code, err, str(tmp_path / "run"), "Read-only file system")
    assert code == 4


FULL = (
    "mkdir -p {run}/properties && mount -t tmpfs -o size=16k full {run}/properties && "
    "head -c 8000 /dev/zero > {run}/properties/full && "
)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a file system that is soon full")
def test_a_full_disk_under_the_properties_ends_nobody_and_the_report_names_what_is_missing(tmp_path):
    run = tmp_path / "run"
    driver, report = ([sys.executable, str(ROOT / name)] for name in ("driver.py", "report.py"))
    train = shlex.join([*driver, *SETTINGS, "--actors=2", f"--run-dir={run}"])
    shell = FULL.format(run=shlex.quote(str(run))) + f"{train} && {shlex.join([*report, str(run)])}"
    with command(["unshare", "--mount", "bash", "-c", shell]) as started:
        code, out, err = started.wait(), started.out, started.err
    skip_unless_mounted(err)
    assert recorded_digests(run) == digests_without_ray(1, batch_size=2, hidden_units=2)
    assert "update 1 done" in out
    assert f"{run}/properties" in out
    assert "lacks some of what its process saw: its disk refused it" in out
    assert code == 5, "what is missing was not reached"
    assert err.count("\n") == 1


# ---- in this process ------------------------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """One of this test's own."""
    own = {"PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error"}
    monkeypatch.setattr(os, "environ", own)
    return own


@pytest.mark.filterwarnings("ignore:as of some that Ray imports")
def test_switches_that_end_rays_processes_are_not_handed_on(environment):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        process_environment.prepare_ray(embedded=False)
        warnings.warn("as of some that Ray imports", DeprecationWarning, stacklevel=1)
    assert not {"PYTHONOPTIMIZE", "PYTHONWARNINGS"} & environment.keys()


@pytest.mark.parametrize(("limit", "is_enough"), [((3 << 30) - 1, False), (3 << 30, True), (-1, True)])
def test_address_space_is_asked_for_where_ray_starts_here(environment, monkeypatch, limit, is_enough):
    assert resource.RLIM_INFINITY == -1
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, -1))
    process_environment.prepare_ray(embedded=False)
    if is_enough:
        process_environment.prepare_ray(embedded=True)
    else:
        with pytest.raises(BadInput, match="ulimit -v"):
            process_environment.prepare_ray(embedded=True)


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        (None, r"^Ray cannot start on this machine \(raylet died\): what its processes say is in /.*/logs\.$"),
        ("head:1", r"^no Ray cluster can be joined at head:1 \(raylet died\): is its head up, and its port right\?$"),
    ],
)
@pytest.mark.parametrize("kind", [Exception, OSError, AssertionError, TypeError])
def test_whatever_ray_raises_while_it_starts_is_no_bug_of_this_program(monkeypatch, kind, address, sentence):
    monkeypatch.setattr(ray, "init", failing_with(kind("raylet died.\nand more")))
    with pytest.raises(BadInput, match=sentence), ray_session.connect(address, actors=1):
        pytest.fail("it has started")


def test_an_interrupt_that_breaks_rays_start_is_an_interrupt(monkeypatch):
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    interrupts = Interrupts()
    interrupts.defer()
    signal.raise_signal(signal.SIGTERM)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    monkeypatch.setattr(ray, "init", failing_with(Exception("interrupted")))
    with pytest.raises(Interrupted), interrupts.blamed(), ray_session.connect(None, actors=1):
        pytest.fail("it has started")


def failing_with(error: Exception) -> Callable[..., None]:
    def init(**_: object) -> None:
        raise error

    return init
