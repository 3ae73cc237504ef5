"""docker-compose.yaml and Dockerfile keep the rules that DESIGN.md has for them: read, not run."""

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers import why_not

from training import settings
from workload import scenario, supervise

ROOT = Path(__file__).parents[2]
CONFIGURATION = ROOT / "deploy" / "antithesis"
TEXT = (CONFIGURATION / "docker-compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENTRY_POINT = ROOT / "workload/entrypoint.sh"
SUPERVISED = ["python", "-m", "antithesis", "-m", "workload.supervise"]  # for coverage from the first line
CATALOG, TEMPLATE = "/opt/antithesis/catalog/", "/opt/antithesis/test/v1/pong"

each_service = pytest.mark.parametrize("name", SERVICES)


def ray_command(name: str) -> list[str]:
    """The command with which a service starts Ray."""
    node, _ = supervise.assemble(SERVICES[name]["command"][len(SUPERVISED) :])
    return node.command("192.0.2.1")


def flag(command: list[str], name: str) -> str:
    return next(word.partition("=")[2] for word in command if word.startswith(f"--{name}="))


def mebibytes(size: str) -> int:
    factors = {"m": 1, "g": 1024}
    return int(size[:-1]) * factors[size[-1].lower()]


# ---- the configuration's folder ----


def test_the_configuration_is_the_compose_file_and_nothing_else() -> None:
    assert [path.name for path in CONFIGURATION.iterdir()] == ["docker-compose.yaml"]


def test_the_compose_file_at_the_root_is_the_same_one() -> None:
    at_root = ROOT / "docker-compose.yaml"
    assert at_root.is_symlink()
    assert at_root.readlink() == (CONFIGURATION / "docker-compose.yaml").relative_to(ROOT)


@pytest.mark.docker
@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_the_configuration_image_holds_the_compose_file() -> None:
    """Built as snouty builds it, and looked into: a `.dockerignore` of this folder or above may hide the file."""
    build = ["docker", "build", "--file", "-", "--platform", "linux/amd64", "--output", "type=tar,dest=-", "."]
    dockerfile = b"FROM scratch\nCOPY . /\n"
    done = subprocess.run(build, cwd=CONFIGURATION, input=dockerfile, capture_output=True, check=True, timeout=120)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as image:
        files = [member.name for member in image if member.isfile()]
        held = image.extractfile(files[0])
        assert files == ["docker-compose.yaml"]
        assert held is not None
        assert held.read() == (CONFIGURATION / "docker-compose.yaml").read_bytes()


# ---- docker-compose.yaml ----


def test_the_project_has_a_name() -> None:
    assert COMPOSE["name"] == "ray-pong"


def test_there_are_a_head_two_workers_and_a_trainer() -> None:
    roles = [service["command"][len(SUPERVISED)] for service in SERVICES.values()]
    assert sorted(roles) == ["head", "trainer", "worker", "worker"]


@each_service
def test_a_container_is_called_by_its_host_name_without_underscores(name: str) -> None:
    assert SERVICES[name]["container_name"] == SERVICES[name]["hostname"]
    assert re.fullmatch(r"[a-z0-9-]+", SERVICES[name]["hostname"])


@each_service
def test_a_container_runs_on_amd64_under_an_init(name: str) -> None:
    assert SERVICES[name]["platform"] == "linux/amd64"
    assert SERVICES[name]["init"] is True


@each_service
def test_nothing_is_coloured_folded_or_prefixed_in_the_log(name: str) -> None:
    environment = SERVICES[name]["environment"]
    assert environment["NO_COLOR"] == "1"
    assert environment["RAY_DEDUP_LOGS"] == environment["RAY_COLOR_PREFIX"] == "0"
    assert "--log-color=false" in ray_command(name)


@each_service
def test_token_authentication_is_decided(name: str) -> None:
    assert SERVICES[name]["environment"]["RAY_AUTH_MODE"] == "disabled"


@each_service
def test_no_port_is_published(name: str) -> None:
    assert not {"ports", "expose", "network_mode"} & SERVICES[name].keys()  # which is why authentication may be off


@each_service
def test_health_is_checked_and_waited_for(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"] == ["CMD", "python", "-m", "workload.health"]
    assert all(wanted == {"condition": "service_healthy"} for wanted in SERVICES[name].get("depends_on", {}).values())


def test_workers_wait_for_the_head_and_the_trainer_for_all() -> None:
    waits_for = {name: set(service.get("depends_on", {})) for name, service in SERVICES.items()}
    assert waits_for == {
        "head": set(),
        "worker-1": {"head"},
        "worker-2": {"head"},
        "trainer": {"head", "worker-1", "worker-2"},
    }


@each_service
def test_nothing_is_set_that_the_platform_refuses(name: str) -> None:
    assert not {"logging", "pull_policy"} & SERVICES[name].keys()
    assert "internal" not in TEXT


@each_service
def test_what_fails_is_restarted_inside_its_container(name: str) -> None:
    assert SERVICES[name]["command"][: len(SUPERVISED)] == SUPERVISED
    assert "restart" not in SERVICES[name]


def test_nothing_depends_on_the_shell_it_is_started_from() -> None:
    assert "$" not in TEXT


@each_service
def test_shared_memory_holds_the_object_store(name: str) -> None:
    store_bytes = int(flag(ray_command(name), "object-store-memory"))
    assert store_bytes <= mebibytes(SERVICES[name]["shm_size"]) << 20


def test_only_workers_have_cpus_for_actors() -> None:
    cpus = {name: int(flag(ray_command(name), "num-cpus")) for name in SERVICES}
    assert cpus == {"head": 0, "worker-1": 1, "worker-2": 1, "trainer": 0}


@each_service
def test_no_node_sends_usage_statistics(name: str) -> None:
    assert "--disable-usage-stats" in ray_command(name)


@each_service
def test_ports_are_fixed_and_differ(name: str) -> None:
    command = ray_command(name)
    kinds = ["node-manager", "object-manager", "runtime-env-agent", "dashboard-agent-listen", "dashboard-agent-grpc"]
    ports = [int(flag(command, f"{kind}-port")) for kind in [*kinds, "metrics-export"]]
    if "--head" in command:
        ports += [int(flag(command, "port")), int(flag(command, "ray-client-server-port"))]
    assert len(set(ports)) == len(ports)
    assert max(ports) < int(flag(command, "min-worker-port")) < int(flag(command, "max-worker-port"))


@each_service
def test_nodes_find_the_head_by_its_name(name: str) -> None:
    command = ray_command(name)
    assert "--head" in command or f"--address={SERVICES['head']['hostname']}:6379" in command
    assert not re.search(r"\d+\.\d+\.\d+\.\d+", TEXT)


def test_the_run_is_on_a_named_volume_of_the_trainer() -> None:
    mounts = {name: service["volumes"] for name, service in SERVICES.items() if "volumes" in service}
    assert [name for name in mounts if "runs:/runs" in mounts[name]] == ["trainer"]
    assert list(COMPOSE["volumes"]) == ["runs", "scenario"]


def test_the_scenario_is_drawn_in_the_trainer_and_seen_by_all() -> None:
    expected = {name: "scenario:/scenario" if name == "trainer" else "scenario:/scenario:ro" for name in SERVICES}
    assert {name: service["volumes"][-1] for name, service in SERVICES.items()} == expected
    assert scenario.FILE.parent == Path("/scenario")


@each_service
def test_ray_knows_of_a_loss_within_seconds(name: str) -> None:
    environment = SERVICES[name]["environment"]
    period_ms, timeout_ms, failures = (
        int(environment[f"RAY_health_check_{what}"]) for what in ("period_ms", "timeout_ms", "failure_threshold")
    )
    assert failures * (period_ms + timeout_ms) <= 20_000
    assert int(environment["RAY_gcs_rpc_server_reconnect_timeout_s"]) <= 20


def test_the_drivers_settings_are_accepted_and_bounded() -> None:
    command = SERVICES["trainer"]["command"]
    chosen = settings.from_command_line(command[command.index("--") + 1 :])
    assert chosen.batch_size <= 10
    assert chosen.checkpoint_every <= 10
    assert chosen.cluster_timeout_s <= 120


@each_service
def test_an_image_is_built_from_the_dockerfile(name: str) -> None:
    target = SERVICES[name]["build"]["target"]
    assert SERVICES[name]["build"]["context"] == "."
    assert f" AS {target}\n" in DOCKERFILE
    assert SERVICES[name]["image"] == f"ray-pong-{target}"


# ---- Dockerfile and entry point ----


def test_the_base_image_is_glibcs_python() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert bases == ["python:3.12-slim-bookworm", "node", "node"]


def test_every_version_is_exact() -> None:
    lines = [line.partition("#")[0].strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    assert all(re.fullmatch(r"[\w.\[\]-]+==[\w.]+", line) for line in lines if line)


def test_dependencies_have_a_layer_that_code_does_not_touch() -> None:
    steps = [line.split()[:2] for line in DOCKERFILE.splitlines() if line.startswith(("COPY", "RUN"))]
    assert steps[:2] == [["COPY", "requirements.txt"], ["RUN", "python"]]


def test_packages_come_from_wherever_pip_is_told_to_look() -> None:
    assert not re.search(r"https?://|index-url|trusted-host|find-links|cert", DOCKERFILE, re.IGNORECASE)


def test_the_image_knows_no_colour() -> None:
    assert "NO_COLOR=1" in DOCKERFILE


def test_the_code_lies_where_the_platform_looks_for_it() -> None:
    folder = re.search(r"^WORKDIR (\S+)$", DOCKERFILE, re.MULTILINE)
    assert folder is not None
    assert folder[1].startswith(CATALOG)
    assert f"PYTHONPATH={folder[1]}" in DOCKERFILE
    assert "RAY_PONG_CODE_ON_NODES=1" in DOCKERFILE


def test_each_image_has_the_test_commands_of_its_part() -> None:
    stages = re.split(r"^FROM \S+ AS (\w+)$", DOCKERFILE, flags=re.MULTILINE)[1:]
    copied = {
        name: re.findall(rf"^COPY --chmod=755 workload/template/(\w+)/ {TEMPLATE}/$", stage, re.MULTILINE)
        for name, stage in zip(stages[::2], stages[1::2], strict=True)
    }
    assert copied == {part: [part] for part in ("node", "head", "trainer")}


def test_containers_start_as_root_and_become_a_user() -> None:
    entry_point = ENTRY_POINT.read_text()
    assert not re.search(r"^USER\b", DOCKERFILE, re.MULTILINE)
    assert f'"{CATALOG}ray-pong/workload/entrypoint.sh"' in DOCKERFILE
    assert os.access(ENTRY_POINT, os.X_OK)
    assert "ANTITHESIS_OUTPUT_DIR" in entry_point
    assert re.search(r"exec setpriv --reuid=pong --regid=pong --init-groups", entry_point)
    assert "useradd" in DOCKERFILE
    assert " pong " in DOCKERFILE


def test_only_what_the_image_needs_is_sent_to_its_build() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert kept == {"*.py", "bitexact", "pong", "requirements.txt", "training", "workload"}
