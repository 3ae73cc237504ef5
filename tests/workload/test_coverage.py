"""Under a stand-in for the platform's instrumentation, coverage is on in supervisors, driver and actors.

python -m pytest -m docker tests/workload/test_coverage.py
"""

import ast
from pathlib import Path

import pytest
from containers import Containers, why_not

from workload.containers import DockerFailed, docker

pytestmark = [pytest.mark.docker, pytest.mark.skipif(bool(why_not()), reason=why_not()), pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
STAND_IN, CATALOG = "/opt/stand-in", "/opt/stand-in-catalog"
COLUMNS = ["file", "class", "function", "edge_kind", "address", "begin_line", "begin_column", "end_line", "end_column"]
LIMIT_S = 180.0

# The function whose beginning shows it of each program; its number is the edge's.
OF = {
    "supervisor": ("workload/supervise.py", "Supervisor", "run"),
    "driver": ("driver.py", "", "main"),
    "actor": ("pong_actor.py", "PongEnv", "__init__"),
}
EDGES = dict(enumerate(OF, start=1))


def line_of(file: str, within: str, function: str) -> int:
    body = ast.parse((ROOT / file).read_text()).body
    if within:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == within)
    return next(node.lineno for node in body if isinstance(node, ast.FunctionDef) and node.name == function)


def write_edges(folder: Path) -> None:
    """The table that the platform's instrumentation makes of a program, in the SDK's format."""
    rows = [COLUMNS]
    for edge, name in EDGES.items():
        rows.append([*OF[name], "entry", str(edge), str(line_of(*OF[name])), "1", "0", "0"])
    module = folder / "python-stand-in"
    module.mkdir(parents=True)
    (module / "python-stand-in.sym.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))


def covered(cluster: Containers, service: str) -> dict[str, set[str]]:
    """The processes of a container that reported coverage, by the program that the edge is of."""
    try:
        lines = docker("exec", cluster.container(service), "cat", "/tmp/covered").split("\n")
    except DockerFailed:
        lines = []  # nothing yet
    found: dict[str, set[str]] = {}
    for edge, process in (line.split() for line in lines if line):
        found.setdefault(EDGES[int(edge)], set()).add(process)
    return found


def test_coverage_is_on_in_supervisor_driver_and_actor(tmp_path: Path) -> None:
    write_edges(tmp_path)
    seeing = {
        "volumes": [f"{ROOT}/tests/coverage:{STAND_IN}:ro", f"{tmp_path}:{CATALOG}:ro"],
        "environment": {
            "PYTHONPATH": f"{STAND_IN}:/opt/antithesis/catalog/ray-pong",
            "ANTITHESIS_OUTPUT_DIR": "/tmp/antithesis",
            "ANTITHESIS_ASSERTION_CATALOG": CATALOG,
        },
    }
    tmp_path.chmod(0o755)
    with Containers("raypongcoverage") as cluster:
        cluster.change_all(seeing)
        cluster.build()
        cluster.up()
        cluster.wait_for_update(1, LIMIT_S)
        found = {service: covered(cluster, service) for service in ("trainer", "worker-1")}
    assert set(found["trainer"]) == {"supervisor", "driver"}
    assert set(found["worker-1"]) == {"supervisor", "actor"}
    for programs in found.values():
        assert not set.intersection(*programs.values()), "one process reports for both"
