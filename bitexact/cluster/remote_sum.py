"""Gradients added where they lie: on a cluster only sums travel, and the driver fetches one.

    reducer = RemoteReducer(cluster, listener)
    remote_sum = reducer.begin(update=2, size=3, like=weights)
    remote_sum.add(index, gradient, fingerprints)      # an OnNode, as RayCluster.result gives it, and its record's
    total = remote_sum.total()                         # arrays; None if something of it is lost, and then:
    for index, gradient in remote_sum.gradients():     # arrays, or None for one that is lost

The sum is the driver's own, `tree_sum.TreeSum`, over references: the same tree, the same bits. Its additions are
done on the node where most of what they add lies, by an actor that does nothing else and takes no CPU of the players'.
Ray's tasks would find such a node by themselves; but Ray ends a node's processes beyond one a CPU when they are idle
for a second, so that each update would begin with starting processes anew: longer than the driver's own adding takes.

Each addition says what it was given and what it gives, by fingerprints, and how far some of it is from float64: so the
sum is bound to the rollouts' records, and what was changed on the way is refused.

Ray recomputes nothing here. The gradients are kept until the update is done: so when a sum is lost, or does not come,
the driver fetches them and adds them itself, as on one machine, and those that are lost are played again.
"""

import functools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bitexact.cluster.beside import NoAnswer
from bitexact.cluster.interface import Damaged, Listener, Lost, ResultLost
from bitexact.cluster.pool import WAIT_S
from bitexact.cluster.ray_cluster import OnNode, RayCluster
from bitexact.cluster.ray_errors import raised_while_starting
from bitexact.determinism import process
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprints
from bitexact.determinism.process import ProcessInfo
from bitexact.determinism.tree_sum import TreeSum, excess_of_some, sum_of

PATIENCE_S = 30.0  # without any answer, before a sum or a gradient is taken for lost
_LARGEST_SHARE = 0.5  # of the nodes' object stores, for the gradients of a batch
_AT_ONCE = 8  # added by one call: a call, and putting its sum into the object store, cost as much as some additions


@dataclass(frozen=True)
class Addition:
    """What is said of a sum where it is made. Fingerprints are by array."""

    node: str
    of: tuple[dict[str, str], ...]  # what was added, as it came
    gives: dict[str, str]
    excess: float  # over the bound of a sum in float32, of some entries: at most 1


def add_up(node: str, drawn: int, gradients: Sequence[Arrays]) -> tuple[Arrays, Addition]:
    """The sum of gradients on a node, and what is said of it."""
    total = sum_of(gradients)
    of = tuple(fingerprints(gradient) for gradient in gradients)
    return total, Addition(node, of, fingerprints(total), excess_of_some(gradients, total, drawn))


@dataclass(frozen=True)
class _Begun:
    """An addition that was asked for."""

    parts: tuple[Any, ...]  # references
    total: Any  # likewise
    done: Any  # to its Addition


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
class Adder:
    """Adds what lies on its node."""

    def __init__(self, expected: ProcessInfo) -> None:
        """Raises RuntimeError if its process is not like the driver's, which would let its sums differ."""
        if mismatch := process.describe(tuple(expected.versions), tuple(expected.code)).mismatch(expected):
            raise RuntimeError(mismatch)
        self._node = ray.get_runtime_context().get_node_id()

    @ray.method(num_returns=2)
    def add(self, drawn: int, *gradients: Arrays) -> tuple[Arrays, Addition]:
        """The sum, which stays here, and what is said of it."""
        return add_up(self._node, drawn, gradients)


class RemoteReducer:
    """The actors that add: one a node, started when there is something to add on it."""

    def __init__(self, cluster: RayCluster, listener: Listener) -> None:
        self._cluster, self._listener = cluster, listener
        self._adders: dict[str, Any] = {}
        self.done: Counter[str] = Counter()  # calls by node
        self._damaged = 0

    def damage(self) -> None:
        """Something came otherwise than it was named."""
        self._damaged += 1

    def take_damaged(self) -> int:
        """How often since this was last asked."""
        damaged, self._damaged = self._damaged, 0
        return damaged

    def begin(self, update: int, size: int, like: Arrays, drawn: int = 0) -> "RemoteSum | None":
        """The sum of an update's gradients; None if they are too large to lie on the nodes all at a time.

        None also while the head does not answer: no actor could be started to add, and to wait for one would take
        longer than the update. `drawn` decides which entries of each sum are compared.
        """
        if self._cluster.head_hangs():
            return None
        bytes_of_all = size * sum(array.nbytes for array in like.values())
        if bytes_of_all > _LARGEST_SHARE * self._cluster.store_bytes:
            return None
        # A small batch's neighbours lie on several nodes: in pairs, they travel while others are still played.
        at_once = _AT_ONCE if size >= _AT_ONCE * self._cluster.node_count else 2
        return RemoteSum(self, self._listener, (update, size, at_once), drawn)

    def add(self, gradients: Sequence[OnNode], drawn: int) -> tuple[OnNode, Any]:
        """Begin an addition. Returns the sum to be, and a reference to its `Addition`, which says that it is there."""
        ((node, _),) = Counter(gradient.node for gradient in gradients).most_common(1)
        self._cluster.expect_objects()
        begin = functools.partial(self._begin, node, drawn, [gradient.reference for gradient in gradients])
        total, done = self._cluster.objects.call(begin, limit_s=PATIENCE_S)
        return OnNode(total, node), done

    def _begin(self, node: str, drawn: int, references: list[Any]) -> Any:
        if node not in self._adders:
            here = NodeAffinitySchedulingStrategy(node, soft=False)
            adder: Any = Adder
            self._adders[node] = adder.options(scheduling_strategy=here).remote(self._cluster.expected)
        return self._adders[node].add.remote(drawn, *references)

    def wait(self, references: list[Any], count: int) -> list[Any]:
        """Those of the references whose values are there: `count` of them, or fewer after half a second.

        Raises ResultLost if this node's raylet does not answer at all: then nothing can be waited for.
        """
        self._cluster.expect_objects()
        wait = functools.partial(ray.wait, references, num_returns=count, timeout=WAIT_S)
        try:
            ready: list[Any] = self._cluster.objects.call(wait, limit_s=2.0 * WAIT_S)[0]
        except NoAnswer:
            return []
        return ready

    def fetch(self, reference: Any) -> Any:
        """A value that is there. Raises a kind of Lost."""
        return self._cluster.get(reference)

    def give_up(self) -> None:
        """Kill the actors, dead or frozen as one of them may be: the next addition starts new ones."""
        adders, self._adders = list(self._adders.values()), {}
        for adder in adders:
            self._cluster.kill_later(adder)


class RemoteSum:
    """The sum of one update's gradients."""

    def __init__(self, reducer: RemoteReducer, listener: Listener, shape: tuple[int, int, int], drawn: int) -> None:
        """`shape` is the update's number, how many gradients it has, and how many of them are added by one call."""
        self._reducer, self._listener, self._drawn = reducer, listener, drawn
        self._update, size, at_once = shape
        self._gradients: dict[int, OnNode] = {}
        self._names: dict[Any, dict[str, str]] = {}  # fingerprints, by reference
        self._tree = TreeSum(size, self._plus, at_once)
        self._begun: list[_Begun] = []
        self._loss: Lost | None = None  # after it nothing more is added there
        self.excess = 0.0  # the largest of any addition
        self.is_whole = True  # each gradient, and each sum but the last, was added once

    def add(self, index: int, gradient: OnNode, names: dict[str, str]) -> None:
        """Take one gradient in, with its arrays' fingerprints, and begin the additions that can now be done."""
        self._gradients[index] = gradient
        self._names[gradient.reference] = names
        if self._loss is None:
            try:
                self._tree.add(index, gradient)
            except Lost as loss:
                self._loss = loss

    def _plus(self, *gradients: OnNode) -> OnNode:
        total, done = self._reducer.add(gradients, self._drawn)
        self._begun.append(_Begun(tuple(gradient.reference for gradient in gradients), total.reference, done))
        return total

    def total(self) -> Arrays | None:
        """The sum of all, as soon as it is there; None if something of it is lost, or not as it was named."""
        try:
            if self._loss is not None:
                raise self._loss
            self._verify(self._wait_for_additions())
            return self._fetch(self._tree.total(), PATIENCE_S)
        except Lost as loss:
            self._reducer.give_up()
            cause = raised_while_starting(loss.__cause__) or loss
            self._listener.event(
                f"the sum of update {self._update} is lost on its nodes ({cause}): the driver fetches the gradients"
            )
            return None

    def _verify(self, additions: dict[Any, Addition]) -> None:
        """Hold what was added against what was to be added. Raises Damaged where that was changed on the way."""
        added: Counter[Any] = Counter()
        for begun in self._begun:
            addition = additions[begun.done]
            added.update(begun.parts)
            self._names[begun.total] = addition.gives
            self.excess = float(np.maximum(self.excess, addition.excess))  # keeps a NaN
            expected = tuple(self._names[part] for part in begun.parts)
            self.is_whole &= len(addition.of) == len(expected)
            if self.is_whole and addition.of != expected:
                raise self._damaged("what was added is not what was named")
        added[self._tree.total().reference] += 1
        self.is_whole &= added == Counter(self._names.keys())

    def _damaged(self, what: str) -> Damaged:
        self._reducer.damage()
        return Damaged(what)

    def gradients(self) -> Iterator[tuple[int, Arrays | None]]:
        """The gradients one by one, let go of as they are fetched; None for one that is lost."""
        silent: set[str] = set()  # nodes that did not answer: what else they have may be there, but is not waited for
        for index in sorted(self._gradients):
            gradient = self._gradients.pop(index)
            try:
                yield index, self._fetch(gradient, 0.0 if gradient.node in silent else PATIENCE_S)
            except Lost as loss:
                if not isinstance(loss, Damaged):
                    silent.add(gradient.node)
                self._listener.event(f"the gradient of rollout {self._update}.{index} is lost ({loss}): it runs again")
                yield index, None

    def _wait_for_additions(self) -> dict[Any, Addition]:
        """The first that failed ends it, as all above it in the tree would wait for what does not come."""
        found: dict[Any, Addition] = {}
        waiting, answered_at = [begun.done for begun in self._begun], time.monotonic()
        while waiting:
            self._listener.check_interrupt()
            done = self._reducer.wait(waiting, len(waiting))
            waiting = [one for one in waiting if one not in done]
            found |= dict(zip(done, self._reducer.fetch(done), strict=True))
            answered_at = time.monotonic() if done else answered_at
            _expect_an_answer_since(answered_at, PATIENCE_S)
        self._reducer.done.update(addition.node for addition in found.values())
        return found

    def _fetch(self, value: OnNode, patience_s: float) -> Arrays:
        asked_at = time.monotonic()
        while not self._reducer.wait([value.reference], 1):
            self._listener.check_interrupt()
            _expect_an_answer_since(asked_at, patience_s)
        arrays: Arrays = self._reducer.fetch(value.reference)
        if fingerprints(arrays) != self._names[value.reference]:
            raise self._damaged("it came otherwise than it was named where it was made")
        return arrays


def _expect_an_answer_since(since: float, patience_s: float) -> None:
    silent_s = time.monotonic() - since
    if silent_s > patience_s:
        raise ResultLost(f"no answer for {silent_s:.0f} s")
