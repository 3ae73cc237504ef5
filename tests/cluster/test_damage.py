"""A bit that is flipped on the way, of a result or of the weights, is found where it arrives."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitexact.cluster.interface import Damaged, SharedDamaged
from bitexact.cluster.ray_cluster import OnNode, RayCluster, Ticket
from bitexact.cluster.worker import Worker
from bitexact.determinism.digests import fingerprint
from pong.game import Pong
from pong.play import RolloutId
from training import initial_state
from training.rollout_task import task_of
from training.settings import of_preset

PRESETS = ("reinforce", "ppo")
PLAYED: dict[str, tuple[Any, Any, Any]] = {}


def played(preset: Any) -> tuple[Any, Any, Any]:
    """Weights, result and record of one small rollout."""
    if preset not in PLAYED:
        small = of_preset(preset, hidden_units=4)
        weights = initial_state.from_seed(small).weights
        PLAYED[preset] = (weights, *task_of(small).run(Pong(), weights, RolloutId(0, 1, 0)))
    return PLAYED[preset]


def flip(array: np.ndarray, place: int) -> None:
    array.setflags(write=True)
    view = array.reshape(-1).view(np.uint8)
    view[place % view.size] ^= 1 << (place % 8)


@pytest.mark.parametrize("preset", PRESETS)
@settings(deadline=None, max_examples=50)
@given(which=st.integers(0, 20), place=st.integers(0, 2**20))
def test_a_flipped_bit_in_a_result_is_named(preset, which, place):
    _, result, record = played(preset)
    assert record.mismatch(result) == ""
    damaged = copy.deepcopy(result)
    arrays = damaged if isinstance(damaged, dict) else damaged.arrays()
    name = sorted(arrays)[which % len(arrays)]
    flip(arrays[name], place)
    assert record.mismatch(damaged) == name


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", ["update", "index", "reward", "steps", "points_won", "points_lost", "loss"])
def test_a_bit_flipped_in_one_of_a_records_numbers_is_found_wherever_its_result_is(preset, name, monkeypatch):
    _, result, record = played(preset)
    record = pickle.loads(pickle.dumps(record))
    number = np.array([getattr(record, name)])
    flip(number, 3)
    object.__setattr__(record, name, number.tolist()[0])
    assert record.mismatch(result) == "its record"
    cluster = RayCluster(None)
    monkeypatch.setattr(cluster, "get", lambda value: value)
    for ticket in (Ticket(comes=(result, record)), Ticket(comes=record, stays=OnNode("a reference", "a node"))):
        with pytest.raises(Damaged, match=r"not as it was named where it was made: its record$"):
            cluster.result(ticket)


def test_a_record_whose_digest_was_damaged_is_found():
    _, result, record = played("reinforce")
    record = copy.deepcopy(record)
    object.__setattr__(
        record, "digest", "0" + record.digest[1:] if record.digest[0] != "0" else "1" + record.digest[1:]
    )
    assert record.mismatch(result) == "its record"


def test_the_cluster_refuses_a_damaged_result(monkeypatch):
    _, result, record = played("reinforce")
    cluster = RayCluster(None)
    monkeypatch.setattr(cluster, "get", lambda value: value)
    assert cluster.result(Ticket(comes=(result, record))) == (result, record)
    damaged = copy.deepcopy(result)
    flip(damaged["W1"], 12345)
    with pytest.raises(Damaged, match=r"not as it was named where it was made: W1$"):
        cluster.result(Ticket(comes=(damaged, record)))


def test_an_actor_refuses_weights_that_are_not_those_that_were_sent():
    weights, _, record = played("reinforce")
    worker, task = Worker(Pong()), task_of(of_preset("reinforce", hidden_units=4))
    named = fingerprint(weights)
    assert worker.run(weights, task, RolloutId(0, 1, 0), named)[1] == record
    damaged = copy.deepcopy(weights)
    flip(damaged["W2"], 3)
    with pytest.raises(SharedDamaged):
        worker.run(damaged, task, RolloutId(0, 1, 0), named)
