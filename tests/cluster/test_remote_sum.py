"""Gradients added elsewhere than in the driver: the digests of one machine, whatever is lost while sums wait.

First without Ray, where anything can be lost at any time. Then on real clusters: each scenario is a process of its own,
which starts a cluster of three nodes beside a head, joins it and trains with the driver's parts; what it saw is one
line of JSON. What must come out is computed without Ray.
"""

import json
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, Digests, digests_without_ray, finished, recorded_digests, running
from hypothesis import given
from hypothesis import strategies as st
from small_runs import small_settings, stand_in, train

from bitexact.cli.exits import PropertyFailed
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage.state import State
from training import initial_state
from training.update import new_batch

# Large enough for Ray's object store: what is smaller than 100 kB is sent along with the reply.
SETTINGS = {"preset": "reinforce", "batch_size": 8, "hidden_units": 16, "learning_rate": 1e-3}
UPDATES = 3  # the first is compared with a float64 sum, and added by the driver for that
LARGE = 26  # for three nodes


def seen(scenario: str) -> dict[str, Any]:
    """What a scenario saw."""
    done = finished(scenario, program=Path(__file__), PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def assert_digests_of_one_machine(found: dict[str, Any]) -> None:
    expected = digests_without_ray(len(found["digests"]), **{**SETTINGS, "batch_size": found["batch_size"]})
    assert [Digests(*one) for one in found["digests"]] == expected
    assert len(expected) > 1


# ---- without Ray ------------------------------------------------------------------------------------------------

SMALL = small_settings(Path("not used"))
Losses = list[set[int] | None]  # by update, if the sum is lost, the gradients that are lost with it


class Losing:
    """Sums of gradients that lie here, of which some are lost."""

    def __init__(self, losses: Losses) -> None:
        self.losses, self.sums = losses, 0

    def begin(self, update: int, size: int, like: Arrays, drawn: int = 0) -> "LosingSum":
        self.sums += 1
        return LosingSum(size, self.losses[update - 1])


class LosingSum:
    excess, is_whole = 0.0, True

    def __init__(self, size: int, lost: set[int] | None) -> None:
        self._tree, self._lost = TreeSum(size), lost
        self._gradients: dict[int, Arrays] = {}

    def add(self, index: int, gradient: Arrays, names: dict[str, str]) -> None:
        self._gradients[index] = gradient
        self._tree.add(index, gradient)

    def total(self) -> Arrays | None:
        return self._tree.total() if self._lost is None else None

    def gradients(self) -> Iterator[tuple[int, Arrays | None]]:
        assert self._lost is not None, "there was nothing to be asked for"
        for index, gradient in self._gradients.items():
            yield index, None if index in self._lost else gradient


def train_losing(losses: Losses, played: Counter[tuple[int, int]], sums: Losing | None = None) -> State:
    """Six updates as the driver makes them."""
    state, sums = initial_state.from_seed(SMALL), sums or Losing(losses)
    for _ in losses:
        batch = new_batch(SMALL, state, sums)
        while rollout_ids := batch.missing():
            for one in reversed(rollout_ids):
                played[one.update, one.index] += 1
                batch.add(*stand_in(SMALL, state.weights, one.update, one.index))
        state = batch.learn()
    return state


some_losses = st.lists(st.none() | st.sets(st.integers(0, 2)), min_size=6, max_size=6)


@pytest.fixture(scope="module")
def digest_without_losses(tmp_path_factory: pytest.TempPathFactory) -> str:
    return train(small_settings(tmp_path_factory.mktemp("small") / "run")).digest()


@given(losses=some_losses)
def test_whatever_is_lost_the_digest_is_the_same_and_only_that_is_played_again(losses, digest_without_losses):
    played: Counter[tuple[int, int]] = Counter()
    losses[0] = None  # the first update is the driver's own
    assert train_losing(losses, played).digest() == digest_without_losses
    lost = {(update, index) for update, some in enumerate(losses, 1) for index in some or ()}
    assert played == {(update, index): 1 + ((update, index) in lost) for update in range(1, 7) for index in range(3)}


def test_an_update_that_is_compared_with_float64_is_the_drivers_own():
    sums = Losing([None] * 6)
    train_losing([None] * 6, Counter(), sums)
    assert sums.sums == 5


def test_a_rollout_that_is_another_the_second_time_is_caught():
    state = replace(initial_state.from_seed(SMALL), update=1)
    batch = new_batch(SMALL, state, Losing([None, {1}]))
    for one in batch.missing():
        batch.add(*stand_in(SMALL, state.weights, one.update, one.index))
    assert [str(one) for one in batch.missing()] == ["2.1"]
    with pytest.raises(PropertyFailed, match=r"^property failed: a rollout done twice gives the same bytes"):
        batch.add(*stand_in(replace(SMALL, seed=9), state.weights, 2, 1))


# ---- on a cluster -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "calls"), [("undisturbed", [7, 7]), (f"undisturbed, batch {LARGE}", [5])])
def test_gradients_are_added_on_their_nodes_to_the_bits_of_one_machine(scenario, calls):
    """In pairs; and in a large batch eight at once: 8 + 8 + 8 + 2 rollouts, and the four sums."""
    found = seen(scenario)
    assert_digests_of_one_machine(found)
    assert found["again"] == {}
    assert list(found["fetched"].values()) == [found["batch_size"], *(0 for _ in calls)]
    assert found["here"] not in found["nodes"]
    assert set(found["done"]) <= set(found["nodes"])
    assert len(found["done"]) > 1
    assert sum(found["done"].values()) == sum(calls)
    assert found["copies_here"] == 0
    assert not found["a_million_fit"]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["node killed when all are in", "node killed when five are in"])
def test_what_a_killed_node_held_is_played_again_and_nothing_else(scenario):
    found = seen(scenario)
    assert_digests_of_one_machine(found)
    assert found["again"].keys() == {"2"}
    assert set(found["again"]["2"]) <= set(found["on_the_killed"])
    assert 0 < len(found["again"]["2"]) < SETTINGS["batch_size"]
    assert any("the sum of update 2 is lost on its nodes" in line for line in found["events"])
    told = [line for line in found["events"] if line.startswith("the gradient of rollout 2.")]
    assert [int(line.split()[4].split(".")[1]) for line in told] == found["again"]["2"]


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["adders killed", "adders frozen"])
def test_sums_that_do_not_come_are_the_drivers_and_no_rollout_is_played_again(scenario):
    found = seen(scenario)
    assert_digests_of_one_machine(found)
    assert found["again"] == {}
    assert list(found["fetched"].values()) == [8, 0, 0, 0]
    assert len([line for line in found["events"] if "the sum of update 3 is lost on its nodes" in line]) == 1
    assert sum(found["done"].values()) >= 7 + 7, "updates 2 and 4 are added on nodes, the latter by new adders"


@pytest.mark.slow
def test_an_interrupt_is_heard_while_a_sum_does_not_come():
    assert seen("interrupted") == {"interrupted": True}


@pytest.mark.slow
def test_the_driver_has_gradients_added_on_the_clusters_nodes(tmp_path):
    found = seen(f"driver {tmp_path / 'run'}")
    assert found["exit_code"] == 128 + signal.SIGTERM
    digests = recorded_digests(tmp_path / "run")
    assert len(digests) >= UPDATES
    assert digests == digests_without_ray(len(digests), **SETTINGS)
    assert len(found["adders_on"]) > 1


# ---- what runs in a process of its own --------------------------------------------------------------------------


class Told:
    """The pool's listener, which writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.interrupts_left: int | None = None

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        self.events.append(text)

    def check_interrupt(self) -> None:
        if self.interrupts_left is not None:
            self.interrupts_left -= 1
            if self.interrupts_left < 0:
                raise InterruptedError


class Scenario:
    """Some updates on a cluster, and what befalls one of them."""

    def __init__(self, cluster: Any, name: str) -> None:
        import ray

        from bitexact.cluster.interface import PoolSettings
        from bitexact.cluster.pool import Pool
        from bitexact.cluster.ray_cluster import RayCluster
        from bitexact.cluster.remote_sum import RemoteReducer
        from pong_actor import PongEnv
        from training.settings import Settings

        self.cluster, self.name, self.told = cluster, name, Told()
        self.settings = Settings(**{**SETTINGS, "batch_size": LARGE if str(LARGE) in name else SETTINGS["batch_size"]})
        self.updates = 2 if str(LARGE) in name else 4 if "adders" in name else UPDATES
        ray_cluster = RayCluster(PongEnv)
        self.pool = Pool(ray_cluster, PoolSettings(at_most=3), self.told)
        self.reducer = RemoteReducer(ray_cluster, self.told)
        self.nodes = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]
        self.digests: list[tuple[str, list[str]]] = []
        self.again: dict[int, list[int]] = {}
        self.fetched: Counter[int] = Counter()
        self.on_the_killed: list[int] = []
        self.copies_here = 0
        while len(self.pool._actors.ready()) < 3:
            self.pool._round()  # else one node may play all of the first batch

    def play(self) -> dict[str, Any]:
        import ray

        state = initial_state.from_seed(self.settings)
        for _ in range(self.updates):
            state = self.update(state)
        return {
            "batch_size": self.settings.batch_size,
            "digests": self.digests,
            "again": self.again,
            "fetched": {update: self.fetched[update] for update in range(1, self.updates + 1)},
            "here": ray.get_runtime_context().get_node_id(),
            "nodes": self.nodes,
            "done": self.reducer.done,
            "copies_here": self.copies_here,
            "a_million_fit": self.reducer.begin(2, 10**6, like=state.weights) is not None,
            "on_the_killed": self.on_the_killed,
            "events": self.told.events,
        }

    def update(self, state: Any) -> Any:
        """As the driver does it."""
        from bitexact.cluster.ray_cluster import Stays

        batch = new_batch(self.settings, state, self.reducer)
        self.lie: dict[int, Any] = {}  # the gradients that lie on nodes
        while rollout_ids := batch.missing():
            if len(rollout_ids) < self.settings.batch_size:
                self.again[batch.update] = [one.index for one in rollout_ids]
            task = Stays(batch.task) if batch.leaves_results else batch.task
            for _, (result, record) in self.pool.run(task, state.weights, rollout_ids):
                self.note(batch.update, record.index, result)
                batch.add(result, record)
        self.copies_here += self.count_copies_here()
        state = batch.learn()
        self.digests.append((state.digest(), [record.digest for record in batch.records]))
        return state

    def note(self, update: int, index: int, result: Any) -> None:
        if isinstance(result, dict):
            self.fetched[update] += 1
            return
        self.lie[index] = result
        struck_update = 2 if "node" in self.name else 3  # adders are started in the second
        struck_at = 5 if "five" in self.name else self.settings.batch_size
        if (update, len(self.lie)) == (struck_update, struck_at):
            self.strike()

    def strike(self) -> None:
        if self.name.startswith("node killed"):
            self.kill_a_node()
        elif self.name.startswith("adders"):
            self.signal_adders(signal.SIGKILL if "killed" in self.name else signal.SIGSTOP)
        elif self.name == "interrupted":
            self.signal_adders(signal.SIGSTOP)

    def kill_a_node(self) -> None:
        """The one with the first gradient, where the sum of all is to be."""
        killed = self.lie[min(self.lie)].node
        self.on_the_killed = [index for index, result in self.lie.items() if result.node == killed]
        self.cluster.kill_node([node.node_id for node in self.cluster._nodes].index(killed), spares_workers=False)

    def signal_adders(self, number: int) -> None:
        found = processes_titled(self.cluster, b"ray::Adder")
        assert len(found) == len(self.reducer._adders) > 1
        for process in found:
            os.kill(process, number)

    def count_copies_here(self) -> int:
        import ray
        from ray.experimental import get_object_locations

        here = ray.get_runtime_context().get_node_id()
        found = get_object_locations([result.reference for result in self.lie.values()]) if self.lie else {}
        assert all(place["object_size"] > 100_000 for place in found.values()), "not in an object store at all"
        return sum(here in place["node_ids"] for place in found.values())


def processes_titled(cluster: Any, title: bytes) -> list[int]:
    from workload import local_cluster

    return [process for process in cluster._processes() if local_cluster._command(process).startswith(title)]


@contextmanager
def cluster_of_three() -> Iterator[Any]:
    from bitexact.cli import process_environment  # and only then Ray, which reads the environment when it is imported

    with tempfile.TemporaryDirectory() as folder:
        process_environment.prepare_driver(Path(folder), embedded=True)
        from workload.local_cluster import LocalCluster

        with LocalCluster(3) as cluster:
            yield cluster


def play(name: str) -> dict[str, Any]:
    with cluster_of_three() as cluster:
        from bitexact.cluster import remote_sum
        from bitexact.cluster.ray_session import connect

        with connect(cluster.address, None):
            scenario = Scenario(cluster, name)
            if name == "adders frozen":
                remote_sum.PATIENCE_S = 3.0
            return {"interrupted": is_interrupted(scenario)} if name == "interrupted" else scenario.play()


def is_interrupted(scenario: Scenario) -> bool:
    def strike() -> None:
        scenario.signal_adders(signal.SIGSTOP)
        scenario.told.interrupts_left = 3  # of them, the pool's last round may take one

    scenario.strike = strike  # type: ignore[method-assign]
    try:
        scenario.play()
    except InterruptedError:
        return not scenario.told.events
    return False


def drive(directory: str) -> dict[str, Any]:
    from workload.local_cluster import _parent

    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()]
    with cluster_of_three() as cluster:
        flags += [f"--address={cluster.address}", f"--run-dir={directory}"]
        with running(*flags, **{k: v for k, v in os.environ.items() if k.startswith("RAY_")}) as driver:
            driver.wait_for_update(UPDATES)
            adders_on = {_parent(process) for process in processes_titled(cluster, b"ray::Adder")}
            raylets = set(cluster.raylets[1:])  # all but the head's
            driver.send(signal.SIGTERM)
            code = driver.wait()
    return {"adders_on": sorted(adders_on & raylets), "exit_code": code}


if __name__ == "__main__":
    scenario, _, directory = sys.argv[1].partition("driver ")
    print(json.dumps(drive(directory) if directory else play(scenario)))
