"""A sum made on nodes is bound to its rollouts' records and held against float64: planted bugs, without a cluster."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from small_runs import small_settings, stand_in

from bitexact.cli.exits import PropertyFailed
from bitexact.cluster import remote_sum
from bitexact.cluster.ray_cluster import OnNode
from bitexact.determinism import process
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.tree_sum import sum_of
from bitexact.storage.state import State
from training import initial_state
from training.update import new_batch

SMALL = small_settings(Path("not used"))


class Told:
    """The listener, which writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        self.events.append(text)

    def check_interrupt(self) -> None:
        pass


class Here:
    """Additions as the nodes' actors make them, of gradients that lie in this process; some are forged."""

    def __init__(self, forged: Callable[[list[Any]], list[Any]] = list) -> None:
        self._forged, self.told, self.damaged = forged, Told(), 0
        self.done: Counter[str] = Counter()
        self.values: dict[int, Any] = {}

    def put(self, value: Any) -> int:
        self.values[len(self.values)] = value
        return len(self.values) - 1

    def begin(self, update: int, size: int, like: Arrays, drawn: int = 0) -> remote_sum.RemoteSum:
        return remote_sum.RemoteSum(self, self.told, (update, size, 2), drawn)

    def add(self, gradients: Sequence[OnNode], drawn: int) -> tuple[OnNode, int]:
        parts = self._forged([self.values[one.reference] for one in gradients])
        total, addition = remote_sum.add_up("here", drawn, parts)
        return OnNode(self.put(total), "here"), self.put(addition)

    def wait(self, references: list[int], count: int) -> list[int]:
        return references

    def fetch(self, reference: Any) -> Any:
        return [self.values[one] for one in reference] if isinstance(reference, list) else self.values[reference]

    def give_up(self) -> None:
        pass

    def damage(self) -> None:
        self.damaged += 1


def sum_here(reducer: Here, strike: Callable[[Arrays], None] = lambda _: None) -> tuple[State, int]:
    """The second update, whose gradients stay; one of them is struck before it is added. And how many were played."""
    state, played = replace(initial_state.from_seed(SMALL), update=1), 0
    batch = new_batch(SMALL, state, reducer)
    while rollout_ids := batch.missing():
        for one in rollout_ids:
            gradient, record = stand_in(SMALL, state.weights, one.update, one.index)
            if played == 1:
                strike(gradient)
            batch.add(OnNode(reducer.put(gradient), "here") if batch.leaves_results else gradient, record)
            played += 1
    return batch.learn(), played


def flip_a_bit(gradient: Arrays) -> None:
    gradient["W2"].view(np.uint8)[0] ^= 1


def test_a_gradient_that_an_addition_is_not_given_is_caught_in_any_update():
    with pytest.raises(PropertyFailed, match="a sum made on nodes holds each rollout once"):
        sum_here(Here(forged=lambda parts: parts[:1]))


def test_a_gradient_that_an_addition_leaves_out_is_caught_in_any_update(monkeypatch):
    monkeypatch.setattr(remote_sum, "sum_of", lambda gradients: sum_of(gradients[:1]))
    with pytest.raises(PropertyFailed, match="a sum made on nodes agrees with float64"):
        sum_here(Here())


def test_a_gradient_that_is_not_its_rollouts_when_it_is_added_is_refused_and_played_again():
    expected, reducer = sum_here(Here())[0].digest(), Here()
    state, played = sum_here(reducer, strike=flip_a_bit)
    assert state.digest() == expected
    assert played == SMALL.batch_size + 1
    assert reducer.damaged == 2, "the addition, and the gradient"
    assert any("the gradient of rollout 2.1 is lost" in line for line in reducer.told.events)


def test_an_actor_that_adds_must_have_this_programs_code():
    here = process.describe(["numpy"], ["policy"])
    make = remote_sum.Adder.__ray_metadata__.modified_class.__init__
    with pytest.raises(RuntimeError, match=r"its code in .* is not this program's"):
        make(SimpleNamespace(), replace(here, code={"policy": "0" * 64}))
