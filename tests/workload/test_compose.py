"""The containers, brought up and disturbed: training goes on, and its digests are those of a run without Ray.

    python -m pytest -m docker tests/workload/test_compose.py

One cluster serves all tests, in their order; each disturbs it in its own way and waits until it trains on. At the end
all that was committed meanwhile is computed again on this machine alone, and compared.
"""

import functools
import json
import multiprocessing
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
import yaml
from containers import RUN, Containers, why_not

from bitexact.storage.state import State
from pong.game import Pong
from pong.play import RolloutId
from training import initial_state, settings
from training.rollout_record import RolloutRecord
from training.rollout_task import RolloutTask
from training.settings import Settings
from training.update import new_batch
from workload import container_faults, scenario
from workload.container_faults import ContainerFault
from workload.containers import COMPOSE_FILE, docker

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

SETUP_TIMEOUT_S = 120.0
RECOVERY_TIMEOUT_S = 240.0  # ten times what it takes on an idle machine with two CPUs
PAUSE_S = CUT_S = 30.0
COMMANDS_FAULT_S = 8.0
COMMAND_TIMEOUT_S = 180.0
UPDATES_AFTER_EACH = 2
FOR_EVERY_CHANGE = {"kill", "disconnect"}  # each kind takes a minute
TEMPLATE = COMPOSE_FILE.parent / "workload" / "template"
CHECKS = [
    "anytime_check_ledger",
    "parallel_driver_evaluate_checkpoint",
    "parallel_driver_replay_update",
    "parallel_driver_second_driver",
]
SERVICES = yaml.safe_load(COMPOSE_FILE.read_text())["services"]


class Trained:
    """A cluster under test, and what it has committed by the end of each test."""

    def __init__(self, cluster: Containers) -> None:
        self.cluster = cluster
        self.up_s = 0.0
        self.ledger: dict[int, str] = {}
        self.until: dict[str, int] = {}  # what was done to it, and the last update by then

    def goes_on_after(self, what: str) -> None:
        """Wait for more updates, and for all containers to be well."""
        self.ledger = self.cluster.wait_for_update(len(self.ledger) + UPDATES_AFTER_EACH, RECOVERY_TIMEOUT_S)
        self.cluster.wait(self._all_are_healthy, "health", RECOVERY_TIMEOUT_S)
        self.until[what] = len(self.ledger)

    def is_disturbed_by(self, what: str, fault: Callable[[], None]) -> None:
        """Disturb it; only updates of afterwards count as going on."""
        fault()
        self.ledger = self.cluster.digests() or self.ledger
        self.goes_on_after(what)

    def _all_are_healthy(self) -> bool:
        assert {self.cluster.status(service) for service in SERVICES} == {"running"}, "a container ended by itself"
        return all(self.cluster.health(service) == "healthy" for service in SERVICES)


@pytest.fixture(scope="module")
def trained() -> Iterator[Trained]:
    if reason := why_not():
        pytest.skip(reason)
    with Containers("raypongtest") as cluster:
        cluster.build()
        trained = Trained(cluster)
        began = time.monotonic()
        cluster.up()
        cluster.wait(lambda: "setup complete" in cluster.logs("trainer"), "setup complete", SETUP_TIMEOUT_S)
        trained.up_s = time.monotonic() - began
        yield trained


def test_setup_completes_within_two_minutes(trained: Trained) -> None:
    assert trained.up_s < SETUP_TIMEOUT_S


def test_it_trains(trained: Trained) -> None:
    trained.ledger = trained.cluster.wait_for_update(5, RECOVERY_TIMEOUT_S)
    trained.goes_on_after("nothing")


def test_the_log_tells_what_happens_in_plain_lines(trained: Trained) -> None:
    log = trained.cluster.logs("trainer")
    assert "supervisor: Ray is up at " in log
    assert "update 5  reward " in log
    assert "\x1b[" not in trained.cluster.logs()


def test_each_test_command_ends_well_on_a_healthy_cluster(trained: Trained) -> None:
    names = [path.name for path in (TEMPLATE / "trainer").glob("*.py") if stays_with_the_run(path.stem)]
    ends_well(trained, names)
    trained.goes_on_after("test commands")


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("worker-1", "kill_actor"),
        ("worker-2", "freeze_actor"),
        ("worker-1", "kill_raylet"),
        ("worker-2", "freeze_raylet"),
        ("head", "kill_gcs"),
        ("trainer", "kill_driver"),
        ("trainer", "freeze_driver"),
    ],
)
def test_a_command_disturbs_its_container_and_training_goes_on(trained: Trained, service: str, name: str) -> None:
    def fault() -> None:
        command = trained.cluster.start_command(f"parallel_driver_{name}.py", service)
        said = command.communicate(timeout=COMMAND_TIMEOUT_S)[0]
        assert (command.returncode, said.split()[0]) == (0, "killed" if "kill" in name else "froze"), said

    trained.is_disturbed_by(name, fault)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=() if kind in FOR_EVERY_CHANGE else pytest.mark.campaign)
        for kind in container_faults.KINDS
    ],
)
def test_each_test_command_that_faults_may_meet_ends_well(trained: Trained, kind: str) -> None:
    if kind not in container_faults.kinds_here():
        pytest.skip(f"this machine cannot make the fault: {kind}")
    names = [f"{name}.py" for name in CHECKS]

    def fault() -> None:
        worker = trained.cluster.container("worker-1")
        end = container_faults.inject(ContainerFault(kind, worker, 0.0, 0.0, 0.5), trained.cluster.network())

        def meanwhile() -> None:
            time.sleep(COMMANDS_FAULT_S)
            end()

        ends_well(trained, names, meanwhile)

    trained.is_disturbed_by(f"{kind} under test commands", fault)


def stays_with_the_run(name: str) -> bool:
    return not ("_kill_" in name or "_freeze_" in name or name.startswith("first_"))


def ends_well(trained: Trained, names: list[str], meanwhile: Callable[[], None] = lambda: None) -> None:
    """Run test commands, all at once; each must end with 0."""
    commands = {name: trained.cluster.start_command(name) for name in names}
    meanwhile()
    said = {name: command.communicate(timeout=COMMAND_TIMEOUT_S)[0] for name, command in commands.items()}
    assert {name: command.returncode for name, command in commands.items()} == dict.fromkeys(names, 0), said


def test_a_worker_is_paused(trained: Trained) -> None:
    def fault() -> None:
        trained.cluster.pause("worker-2")
        time.sleep(PAUSE_S)
        trained.cluster.unpause("worker-2")

    trained.is_disturbed_by("a worker's pause", fault)


def test_a_worker_is_cut_off_and_rejoins_with_another_address(trained: Trained) -> None:
    before = trained.cluster.address("worker-1")

    def fault() -> None:
        trained.cluster.disconnect("worker-1")
        time.sleep(CUT_S)
        trained.cluster.connect("worker-1")

    trained.is_disturbed_by("a worker's cut-off", fault)
    after = trained.cluster.address("worker-1")
    assert after != before
    assert f"the address changed from {before} to {after}" in trained.cluster.logs("worker-1")


def test_a_worker_joins_and_leaves_by_the_documents_override_file(trained: Trained) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", (COMPOSE_FILE.parent / "docs" / "cluster.md").read_text(), re.DOTALL)
    ((service, of_it),) = yaml.safe_load(text)["services"].items()
    assert {of_it["container_name"], of_it["hostname"]} == {f"pong-{service}"}
    name = trained.cluster.container(service)
    for what, change in (
        ("joined with 1 CPUs", lambda: trained.cluster.add(service, of_it)),
        ("is gone", lambda: trained.cluster.remove(service)),
    ):
        trained.is_disturbed_by(f"a worker that {what}", change)
        said = re.compile(rf"node {name}/\w+ {what}")
        trained.cluster.wait(lambda said=said: said.search(trained.cluster.logs("trainer")), what, RECOVERY_TIMEOUT_S)


def test_the_trainer_is_killed_and_started(trained: Trained) -> None:
    def fault() -> None:
        trained.cluster.kill("trainer")
        trained.cluster.start("trainer")

    trained.is_disturbed_by("the trainer's kill", fault)
    assert "the driver resumes the run" in trained.cluster.logs("trainer")


def test_the_head_is_killed_and_started(trained: Trained) -> None:
    def fault() -> None:
        trained.cluster.kill("head")
        trained.cluster.start("head")

    trained.is_disturbed_by("the head's kill", fault)
    assert "the head does not know this node any more" in trained.cluster.logs("trainer")


def test_a_stop_is_clean_and_up_resumes(trained: Trained) -> None:
    trained.cluster.stop()
    assert {service: trained.cluster.exit_code(service) for service in SERVICES} == dict.fromkeys(SERVICES, 0)
    resumptions = trained.cluster.logs("trainer").count("the driver resumes the run")

    def up() -> None:
        trained.cluster.up()

    trained.is_disturbed_by("a stop", up)
    assert trained.cluster.logs("trainer").count("the driver resumes the run") == resumptions + 1


def test_all_digests_are_those_of_a_run_without_ray(trained: Trained) -> None:
    trained.cluster.stop()  # the machine is needed for the comparison
    expected = digests_without_ray(driver_settings(), len(trained.ledger))
    wrong = [update for update, digest in trained.ledger.items() if digest != expected[update]]
    assert not wrong, f"update {wrong[0]} differs; what had been done to it by which update: {trained.until}"


def test_a_scenario_that_is_drawn_is_begun_and_trains(trained: Trained) -> None:
    trained.cluster.up()
    trained.cluster.wait(lambda: trained.cluster.health("trainer") == "healthy", "health", RECOVERY_TIMEOUT_S)
    ends_well(trained, ["first_scenario_begins.py"])
    ends_well(trained, [f"{name}.py" for name in CHECKS])
    drawn = scenario.Scenario(
        **json.loads(docker("exec", trained.cluster.container("worker-1"), "cat", str(scenario.FILE)))
    )
    of_it = trained.cluster.digests(RUN.replace("pong", scenario.RUN))
    assert 0 < len(of_it) < len(trained.ledger)
    expected = digests_without_ray(settings.from_command_line(drawn.flags()), 3)
    assert {update: digest for update, digest in of_it.items() if update in expected}.items() <= expected.items()


def test_down_with_volumes_forgets(trained: Trained) -> None:
    assert trained.cluster.volumes() == ["raypongtest_runs", "raypongtest_scenario"]
    trained.cluster.forget()
    assert trained.cluster.volumes() == []


# ---- the same run, without containers and without Ray ----


def driver_settings() -> Settings:
    """The settings that the compose file gives the driver."""
    command = SERVICES["trainer"]["command"]
    return settings.from_command_line(command[command.index("--") + 1 :])


def digests_without_ray(chosen: Settings, updates: int) -> dict[int, str]:
    """The digest after each update, by the same pure functions, in processes that know nothing of each other."""
    now = initial_state.from_seed(chosen)
    digests = {}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        for _ in range(updates):
            batch = new_batch(chosen, now)
            for result in processes.map(functools.partial(_play, batch.task, now), batch.rollout_ids):
                batch.add(*result)
            now = batch.learn()
            digests[now.update] = now.digest()
    return digests


def _play(task: RolloutTask, now: State, rollout_id: RolloutId) -> tuple[Any, RolloutRecord]:
    return task.run(_game(), now.weights, rollout_id)


@functools.cache
def _game() -> Pong:
    return Pong()
