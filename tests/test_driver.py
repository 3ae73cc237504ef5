"""The driver as a user meets it: what it leaves in the run directory, and how it stops and goes on."""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from antithesis.catalog import scan_source
from commands import (
    GOLDEN_SETTINGS,
    ROOT,
    assert_one_sentence,
    command,
    digests_without_ray,
    finished,
    lines,
    listens_on,
    patience,
    recorded_digests,
    resume_command,
    running,
)

from bitexact.determinism import versions
from bitexact.reporting import verdicts
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.state import State
from training import initial_state
from training.settings import Settings

CHEAP = {"batch_size": 2, "hidden_units": 16}
CHEAP_FLAGS = ("--batch-size=2", "--hidden-units=16")
STOPS_WITHIN_S = 5.0
DASHBOARD_PORTS = range(8265, 8316)  # the first, and those that Ray tries when it is taken

# What a run in which nothing goes wrong cannot show.
NEEDS_A_FAULT = {
    "A late duplicate of a rollout is dropped",
    "A batch completes although an actor died in it",
    "A lost rollout is computed on another node",
}
NEEDS_A_CLUSTER = {
    "A sum made on nodes holds each of its rollouts once",
    "A sum made on nodes agrees with float64 in the entries drawn",
}
NEEDS_A_RESUME = {
    "A resumed run continues at its checkpoint's update + 1",
    "A run resumes after update 0",
    "An update is computed again after a resume",
    "An update computed again has its recorded digest",
    "A rollout computed twice gives the same bytes",
}
NEEDS_THE_OTHER_PRESET = {
    "A pass over a batch learns from each of its steps once",
    "A minibatch's gradient agrees with the same in float64",
    "A step of Adam agrees with the same in float64",
}
NEEDS_A_BUG = {"The driver is not ended by an exception of its own"}
NEEDS_ANOTHER_PROGRAM = {
    "An update has the digest that was computed beforehand without Ray",
    "In an evaluation, a score once counted never decreases",
    "In an evaluation, the rewards add up to the game's own score",
    "The ledger holds each update and each of its rollouts once",
    "No update that was seen in the ledger is ever lost or changed",
    "A copy of the run directory taken at any instant can be resumed",
    "A second driver of a run is refused while the first one lives",
    "A recorded update can be recomputed to the bit",
    "Once faults stop, training advances",
}
OF_THE_ACTORS = "Every step's reward is -1, 0 or 1"
OF_THE_DRIVER = "Updates are committed in order, each once"


# ---- what a run leaves --------------------------------------------------------------------------------------------


def test_a_run_that_ends_says_nothing_on_standard_error(golden_run):
    assert golden_run.err == ""


def test_a_run_shows_one_line_an_update_and_its_last_digest(golden_run):
    shown = golden_run.out.splitlines()
    assert [line.split()[:2] for line in shown if line.startswith("update ") and " reward " in line] == [
        ["update", "1"],
        ["update", "2"],
    ]
    assert shown[-1].endswith(recorded_digests(golden_run.directory)[-1].weights)
    assert "\x1b" not in golden_run.out


def test_the_config_holds_settings_versions_and_the_first_digest(golden_run):
    config = json.loads((golden_run.directory / "config.json").read_text())
    given = Settings(**GOLDEN_SETTINGS, updates=2, actors=3, checkpoint_every=1)
    assert config["settings"] == given.lasting()
    assert config["settings"].keys() >= {"seed", "learning_rate", "discount", "decay_rate", "hidden_units", "address"}
    assert config["versions"] == versions.installed()
    assert config["versions"].keys() >= {"numpy", "scipy", "ray", "ale-py", "gymnasium", "antithesis"}
    assert config["initial_digest"] == initial_state.from_seed(given).digest()


def test_each_line_of_metrics_has_the_documented_keys(golden_run):
    for number, line in enumerate(lines(golden_run.directory / "metrics.jsonl"), start=1):
        numbers = {name: line[name] for name in ("loss", "gradient_norm", "steps_per_s", "wall_time_s")}
        assert all(isinstance(value, float) for value in numbers.values()), numbers
        assert (line["update"], line["rollouts"], line["redispatched"]) == (number, 3, 0)
        assert len(line["weights_digest"]) == 64


def test_metrics_add_up_from_the_rollouts(golden_run):
    rollouts = lines(golden_run.directory / "rollouts.jsonl")
    rewards_until = []
    for line in lines(golden_run.directory / "metrics.jsonl"):
        batch = [rollout for rollout in rollouts if rollout["update"] == line["update"]]
        rewards = [rollout["reward"] for rollout in batch]
        rewards_until += rewards
        assert [rollout["index"] for rollout in batch] == [0, 1, 2]
        assert line["steps"] == sum(rollout["steps"] for rollout in batch)
        assert (line["reward_min"], line["reward_max"]) == (min(rewards), max(rewards))
        assert line["reward_mean"] == pytest.approx(sum(rewards) / 3)
        assert line["reward_mean_100"] == pytest.approx(sum(rewards_until) / len(rewards_until))
        assert line["points_won"] - line["points_lost"] == sum(rewards)
        assert line["steps_per_s"] > 0.0
        assert line["gradient_norm"] > 0.0


def test_each_line_says_where_the_time_went(golden_run):
    """By what must be: nobody plays while the driver learns, and nothing is longer than the update."""
    for line in lines(golden_run.directory / "metrics.jsonl"):
        update_s = line["steps"] / line["steps_per_s"]
        assert 0.0 < line["learn_s"] <= line["idle_s"] < update_s
        assert 0.0 < line["play_s"] < update_s - line["learn_s"]
        assert (line["commit_s"] > 0.0) == (line["update"] > 1), "of the update before"


def test_each_line_of_rollouts_has_the_documented_keys(golden_run):
    for line in lines(golden_run.directory / "rollouts.jsonl"):
        assert line.keys() >= {"update", "index", "reward", "steps", "digest"}
        assert -21 <= line["reward"] <= 21
        assert line["steps"] > 21
        assert len(line["digest"]) == 32


def test_checkpoints_hold_what_the_ledger_names(golden_run):
    checkpoints = Checkpoints(golden_run.directory / "checkpoints")
    assert checkpoints.updates() == [1, 2]
    for line in lines(golden_run.directory / "metrics.jsonl"):
        assert (
            checkpoints.load(line["update"], initial_state.from_seed(Settings(**GOLDEN_SETTINGS))).digest()
            == line["weights_digest"]
        )


# ---- the properties it states -------------------------------------------------------------------------------------


def assertions(*paths: Path) -> list[dict[str, Any]]:
    """What processes saw of the properties: each first pass and first failure."""
    found = [line["antithesis_assert"] for path in paths for line in lines(path) if "antithesis_assert" in line]
    return [line for line in found if line["hit"]]


def passed(*paths: Path) -> set[str]:
    return {line["message"] for line in assertions(*paths) if line["condition"]}


def stated() -> set[str]:
    source = (ROOT / "invariants.py").read_text()
    return {found.message for found in scan_source(source, "invariants.py")}


def test_a_run_without_faults_reaches_every_property_that_it_can(golden_run):
    by_faults = NEEDS_A_FAULT | NEEDS_A_CLUSTER | NEEDS_A_RESUME
    needs_more = by_faults | NEEDS_THE_OTHER_PRESET | NEEDS_ANOTHER_PROGRAM | NEEDS_A_BUG
    assert needs_more < stated()
    assert passed(*(golden_run.directory / "properties").iterdir()) == stated() - needs_more


def test_no_property_fails(golden_run):
    seen = assertions(*(golden_run.directory / "properties").iterdir())
    assert [line for line in seen if line["assert_type"] == "always" and not line["condition"]] == []


def test_driver_and_actors_state_properties_alike(golden_run):
    files = list((golden_run.directory / "properties").iterdir())
    assert len(files) == 4  # a driver, three actors
    assert len([path for path in files if OF_THE_ACTORS in passed(path)]) == 3
    assert len([path for path in files if OF_THE_DRIVER in passed(path)]) == 1


# ---- stopped by a signal ------------------------------------------------------------------------------------------


class Stopped(NamedTuple):
    """A run that was sent a signal, and what was seen of it before and after."""

    directory: Path
    code: int
    err: str
    took_s: float
    processes: dict[int, str]
    environments: dict[str, list[str]]  # by command line
    in_its_group: list[str]  # the command lines of those that a signal to the driver's group reaches
    listened: set[tuple[str, int]]
    ledger: bytes
    second_driver: tuple[int, str]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    """A run stopped by SIGTERM while it trains. Not to be altered: see `copy_of`."""
    directory = tmp_path_factory.mktemp("stopped") / "run"
    with running(f"--run-dir={directory}", *CHEAP_FLAGS) as driver:
        driver.wait_for_update(2)
        processes = driver.processes()
        listened = listens_on(processes)
        in_its_group = [line for process, line in processes.items() if group_of(process) == driver.process.pid]
        environments = {processes.get(process, ""): found for process, found in driver.environments().items()}
        second = finished(f"--run-dir={directory}", "--overwrite")
        ledger = (directory / "metrics.jsonl").read_bytes()
        code, took_s = stop(driver, signal.SIGTERM)
        return Stopped(
            directory,
            code,
            driver.err,
            took_s,
            processes,
            environments,
            in_its_group,
            listened,
            ledger,
            (second.returncode, second.stderr),
        )


def group_of(process: int) -> int | None:
    try:
        return os.getpgid(process)
    except ProcessLookupError:  # it has ended meanwhile
        return None


def stop(driver: Any, number: signal.Signals, to_group: bool = False) -> tuple[int, float]:
    """Send a signal; returns the exit code and how long it took, once nothing of the driver is left."""
    began = time.monotonic()
    driver.send(number, to_group)
    code, took_s = driver.wait(), time.monotonic() - began
    driver.wait_for_the_last_process()
    return code, took_s


def assert_stopped(code: int, err: str, took_s: float, number: signal.Signals) -> None:
    assert code == 128 + number
    assert_one_sentence(code, err, number.name, "--resume")
    assert took_s < patience(STOPS_WITHIN_S)


def test_a_signal_while_it_trains_stops_it_soon_with_the_command_to_go_on(stopped):
    assert_stopped(stopped.code, stopped.err, stopped.took_s, signal.SIGTERM)


def test_committed_updates_stay_and_the_last_one_is_saved(stopped):
    ledger = (stopped.directory / "metrics.jsonl").read_bytes()
    assert stopped.ledger.count(b"\n") >= 2
    assert ledger.startswith(stopped.ledger)
    assert Checkpoints(stopped.directory / "checkpoints").updates() == [ledger.count(b"\n")]


@pytest.mark.slow
def test_the_command_it_names_goes_on_with_it(stopped, tmp_path):
    directory = shutil.copytree(stopped.directory, tmp_path / "copy of it")
    words = resume_command(stopped.err.replace(str(stopped.directory), f"'{directory}'"))
    committed = len(recorded_digests(directory))
    with command([*words, f"--updates={committed + 1}"]) as driver:
        assert driver.wait() == 0, driver.err
    assert recorded_digests(directory) == digests_without_ray(committed + 1, **CHEAP)


def test_a_second_driver_is_refused_while_the_first_runs(stopped):
    code, err = stopped.second_driver
    assert code == 2
    assert_one_sentence(code, err, str(stopped.directory), "driver process")


def test_a_signal_while_ray_starts_stops_it_soon_with_the_command_to_go_on(tmp_path):
    with running(f"--run-dir={tmp_path / 'run'}", *CHEAP_FLAGS) as driver:
        driver.wait_for_process("gcs_server")
        code, took_s = stop(driver, signal.SIGINT, to_group=True)
        assert_stopped(code, driver.err, took_s, signal.SIGINT)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


MOMENTS: dict[str, Callable[[Any, Path], None]] = {
    "directory opened": lambda driver, run: driver.wait_for((run / "config.json").exists, "config.json"),
    "Ray's first process": lambda driver, _: driver.wait_for_process("gcs_server"),
    "Ray's last process": lambda driver, _: driver.wait_for_process("raylet/raylet"),
    "first actor": lambda driver, _: driver.wait_for_process("ray::PongEnv"),
    "training": lambda driver, _: driver.wait_for_update(1),
}


@pytest.mark.slow
def test_a_closed_terminal_stops_it_with_the_command_to_go_on_and_a_moved_run_says_so(tmp_path):
    run = tmp_path / "run"
    with running(f"--run-dir={run}", *CHEAP_FLAGS) as driver:
        driver.wait_for_update(1)
        code, took_s = stop(driver, signal.SIGHUP, to_group=False)
        assert_stopped(code, driver.err, took_s, signal.SIGHUP)
        words = resume_command(driver.err)
    with command(words) as driver:
        driver.wait_for_update(len(recorded_digests(run)) + 1)
        run.rename(tmp_path / "elsewhere")
        assert driver.wait() == 4
        assert_one_sentence(4, driver.err, str(run), "was deleted or moved")
    done = finished(
        f"--run-dir={tmp_path / 'elsewhere'}",
        "--resume",
        PYTHONPATH=str(ROOT / "tests" / "planted"),
        PLANTED_BUG="exception",
    )
    assert_one_sentence(6, done.stderr, "a bug in this program (ZeroDivisionError: planted)", "traceback.txt")
    assert done.returncode == 6
    assert "ZeroDivisionError: planted" in (tmp_path / "elsewhere" / "traceback.txt").read_text()
    failed = [one for one in verdicts.make([tmp_path / "elsewhere"]).verdicts if one.status == verdicts.FAILED]
    assert [(one.declared.kind, one.details) for one in failed] == [("Unreachable", {"exception": "ZeroDivisionError"})]


SENT_TO_RAY_TOO = "SIGTERM to its group, as timeout sends it"
WAYS = {
    "SIGTERM": (signal.SIGTERM, False),
    "SIGINT to its group, as Ctrl-C sends it": (signal.SIGINT, True),
    SENT_TO_RAY_TOO: (signal.SIGTERM, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_stops_it_at_any_moment(tmp_path, moment, way):
    number, to_group = WAYS[way]
    with running(f"--run-dir={tmp_path / 'run'}", *CHEAP_FLAGS) as driver:
        MOMENTS[moment](driver, tmp_path / "run")
        code, took_s = stop(driver, number, to_group)
        if way == SENT_TO_RAY_TOO:  # Ray's own complaints cannot be prevented
            assert "Traceback" not in driver.err
            assert_stopped(code, driver.err.splitlines(keepends=True)[-1], took_s, number)
        else:
            assert_stopped(code, driver.err, took_s, number)


# ---- Ray inside the driver ----------------------------------------------------------------------------------------


def test_ray_inside_the_driver_listens_on_loopback_only(stopped):
    assert len(stopped.processes) > 4
    assert {address for address, _ in stopped.listened} <= {"127.0.0.1", "::1"}
    assert len(stopped.listened) >= 4  # head, object store, worker and driver talk through ports


def test_the_check_of_loopback_can_fail():
    with socket.create_server(("0.0.0.0", 0)) as open_to_all:
        assert ("0.0.0.0", open_to_all.getsockname()[1]) in listens_on([os.getpid()])
    with socket.create_server(("::", 0), family=socket.AF_INET6) as open_to_all:
        assert ("::", open_to_all.getsockname()[1]) in listens_on([os.getpid()])


def test_a_signal_to_the_drivers_group_reaches_none_of_rays_processes(stopped):
    assert len(stopped.processes) > 4
    assert len(stopped.in_its_group) == 1
    assert "driver.py" in stopped.in_its_group[0]


def test_there_is_no_dashboard(stopped):
    assert {port for _, port in stopped.listened}.isdisjoint(DASHBOARD_PORTS)


def test_usage_statistics_are_off(stopped):
    # Ray's other processes write their titles over the environment that /proc shows.
    of_ray = [found for line, found in stopped.environments.items() if "gcs_server" in line or "raylet/raylet" in line]
    assert len(of_ray) == 2
    assert all(environment["RAY_USAGE_STATS_ENABLED"] == "0" for environment in of_ray)


# ---- damaged checkpoints ------------------------------------------------------------------------------------------


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def go_on(golden_run: Any, to: Path, damage: Callable[[Checkpoints], None], **environment: str) -> str:
    """Resume a damaged copy of the golden run for one more update; returns what it shows."""
    shutil.copytree(golden_run.directory, to)
    damage(Checkpoints(to / "checkpoints"))
    done = finished(f"--run-dir={to}", "--resume", "--updates=3", "--actors=2", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded_digests(to) == digests_without_ray(3, **GOLDEN_SETTINGS)
    return done.stdout


def test_a_torn_checkpoint_is_named_and_the_one_before_is_used(golden_run, tmp_path):
    """The user's file for properties is respected: they go there, and nowhere else."""
    seen = tmp_path / "seen.jsonl"
    shown = go_on(
        golden_run, tmp_path / "run", lambda saved: tear(saved.path(2)), ANTITHESIS_SDK_LOCAL_OUTPUT=str(seen)
    )
    assert any("update-00000002.npz" in line and "damaged" in line for line in shown.splitlines())
    assert passed(seen) >= NEEDS_A_RESUME | {OF_THE_ACTORS, OF_THE_DRIVER}
    before, after = (set(run.iterdir()) for run in (golden_run.directory / "properties", tmp_path / "run/properties"))
    assert {path.name for path in after} == {path.name for path in before}


@pytest.mark.slow
def test_a_checkpoint_of_another_shape_is_named_and_the_one_before_is_used(golden_run, tmp_path):
    def replace(saved: Checkpoints) -> None:
        other = initial_state.from_seed(Settings(preset="reinforce", hidden_units=3))
        saved.save(State(2, other.weights, other.optimizer))

    shown = go_on(golden_run, tmp_path / "run", replace)
    assert any("update-00000002.npz" in line and "another shape" in line for line in shown.splitlines())


@pytest.mark.slow
def test_when_all_checkpoints_are_torn_it_begins_with_the_first_weights(golden_run, tmp_path):
    shown = go_on(golden_run, tmp_path / "run", lambda saved: [tear(saved.path(update)) for update in (1, 2)])
    for update in (1, 2):
        assert any(f"update-0000000{update}.npz" in line and "damaged" in line for line in shown.splitlines())
