"""The tree's sum against a recursive definition of it, and the float64 check against sums with a fault in them."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from bitexact.determinism.digests import digest
from bitexact.determinism.tree_sum import Float64Sum, TreeSum, sum_of

Arrays = dict[str, np.ndarray]


def gradients(size: int, seed: int = 0) -> list[Arrays]:
    """Of many magnitudes, so that the order of additions shows in the bits."""
    random = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return (random.normal(size=shape) * 10.0 ** random.uniform(-3, 3, shape)).astype(np.float32)

    return [{"W1": some(7, 5), "W2": some(5)} for _ in range(size)]


def sum_by_definition(parts: list[Arrays]) -> Arrays:
    """Split at the largest power of two below the length."""
    if len(parts) == 1:
        return parts[0]
    half = max(power for power in (1, 2, 4, 8, 16, 32, 64) if power < len(parts))
    left, right = sum_by_definition(parts[:half]), sum_by_definition(parts[half:])
    return {name: left[name] + right[name] for name in left}


def sum_in_a_row(parts: list[Arrays]) -> Arrays:
    total = {name: array.copy() for name, array in parts[0].items()}
    for part in parts[1:]:
        total = {name: total[name] + part[name] for name in total}
    return total


def tree_sum(parts: list[Arrays], order: list[int]) -> Arrays:
    tree = TreeSum(len(parts))
    for index in order:
        tree.add(index, parts[index])
    return tree.total()


def excess(parts: list[Arrays], total: Arrays) -> float:
    check = Float64Sum(parts[0])
    for part in parts:
        check.add(part)
    return check.excess(total)


orders = st.integers(1, 70).flatmap(lambda size: st.permutations(range(size)))


# ---- the tree ---------------------------------------------------------------------------------------------------


@given(orders)
def test_every_order_of_arrival_gives_the_sum_by_definition(order):
    parts = gradients(len(order))
    assert digest(tree_sum(parts, order)) == digest(sum_by_definition(parts))


@pytest.mark.parametrize("size", range(1, 71))
def test_arrival_in_order_and_backwards_gives_the_sum_by_definition(size):
    parts = gradients(size)
    expected = digest(sum_by_definition(parts))
    assert digest(tree_sum(parts, list(range(size)))) == expected
    assert digest(tree_sum(parts, list(range(size))[::-1])) == expected


def test_these_gradients_tell_one_order_from_another():
    parts = gradients(70)
    sums = [digest(sum_in_a_row(list(some))) for some in (parts, parts[::-1], parts[1:] + parts[:1])]
    assert len({*sums, digest(sum_by_definition(parts))}) == 4


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_all_orders_of_a_small_batch(order):
    parts = gradients(4)
    pairs = [{name: first[name] + second[name] for name in first} for first, second in (parts[:2], parts[2:])]
    by_hand = {name: pairs[0][name] + pairs[1][name] for name in pairs[0]}
    assert digest(tree_sum(parts, list(order))) == digest(by_hand)


def test_a_batch_of_one_is_its_gradient():
    (part,) = gradients(1)
    assert digest(tree_sum([part], [0])) == digest(part)


@given(orders)
def test_there_is_no_total_while_one_is_missing(order):
    tree, parts = TreeSum(len(order)), gradients(len(order))
    for index in order:
        with pytest.raises(KeyError):
            tree.total()
        tree.add(index, parts[index])
    tree.total()


@given(orders)
def test_adding_leaves_the_gradients_alone(order):
    parts = gradients(len(order))
    tree_sum(parts, order)
    assert [digest(part) for part in parts] == [digest(part) for part in gradients(len(order))]


@pytest.mark.parametrize("size", [1, 2, 3, 10, 64, 70])
def test_few_partial_sums_wait_when_results_arrive_in_order(size):
    tree = TreeSum(size)
    for index, part in enumerate(gradients(size)):
        tree.add(index, part)
        assert sum(map(len, tree._waiting.values())) <= max(1, np.log2(size))


# ---- of other values, and of more than two at once --------------------------------------------------------------


def expression_by_definition(first: int, end: int) -> str:
    """The same definition, written out as what is added to what."""
    if end - first == 1:
        return str(first)
    middle = first + max(power for power in (1, 2, 4, 8, 16, 32, 64) if power < end - first)
    return f"({expression_by_definition(first, middle)}+{expression_by_definition(middle, end)})"


def expression(order: list[int], at_once: int, calls: list[int] | None = None) -> str:
    """What a tree adds to what, if its additions get so many at once and add them as a smaller tree does."""

    def plus(*values: str) -> str:
        (calls if calls is not None else []).append(len(values))
        tree = TreeSum(len(values), plus=lambda left, right: f"({left}+{right})")
        for index, value in enumerate(values):
            tree.add(index, value)
        return tree.total()

    tree = TreeSum(len(order), plus, at_once)
    for index in order:
        tree.add(index, str(index))
    return tree.total()


@given(orders, st.sampled_from([2, 4, 8, 16]))
def test_any_values_are_added_in_the_same_shape_whatever_the_order_and_however_many_at_once(order, at_once):
    assert expression(order, at_once) == expression_by_definition(0, len(order))


@given(orders, st.sampled_from([2, 4, 8]))
def test_so_many_are_added_at_once_as_there_are(order, at_once):
    calls: list[int] = []
    expression(order, at_once, calls)
    assert all(1 < count <= at_once for count in calls)
    assert sum(calls) - len(calls) == len(order) - 1
    assert calls.count(at_once) >= len(order) // at_once


@given(orders)
def test_when_the_last_arrives_only_the_additions_above_it_are_left(order):
    done: list[str] = []
    tree = TreeSum(len(order), plus=lambda left, right: done.append(left) or left)
    for index in order[:-1]:
        tree.add(index, str(index))
    left_to_do = len(order) - 1 - len(done)
    assert left_to_do <= np.ceil(np.log2(len(order)))
    tree.add(order[-1], str(order[-1]))
    assert len(done) == len(order) - 1


@given(orders)
def test_the_sum_of_gradients_that_are_there_is_the_sum_by_definition(order):
    parts = gradients(len(order))
    assert digest(sum_of(parts)) == digest(sum_by_definition(parts))


# ---- the float64 sum --------------------------------------------------------------------------------------------


@given(orders, st.integers(0, 2**32 - 1))
def test_true_sums_are_within_the_bound_in_any_order(order, seed):
    parts = gradients(len(order), seed)
    assert excess(parts, tree_sum(parts, order)) <= 1.0
    assert excess(parts, sum_in_a_row([parts[index] for index in order])) <= 1.0


finite = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=300)
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(1, 3)), elements=finite))
def test_true_sums_are_within_the_bound_whatever_the_numbers(rows):
    parts = [{"a": row} for row in rows]
    assert excess(parts, tree_sum(parts, list(range(len(parts))))) <= 1.0
    assert excess(parts, sum_in_a_row(parts)) <= 1.0


sizes_and_indices = st.integers(2, 70).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


@given(sizes_and_indices)
def test_a_gradient_left_out_is_noticed(size_and_index):
    size, index = size_and_index
    parts = gradients(size)
    assert excess(parts, sum_in_a_row(parts[:index] + parts[index + 1 :])) > 1.0


@given(sizes_and_indices)
def test_a_gradient_counted_twice_is_noticed(size_and_index):
    size, index = size_and_index
    parts = gradients(size)
    assert excess(parts, sum_in_a_row([*parts, parts[index]])) > 1.0


@given(sizes_and_indices)
def test_a_gradient_counted_in_anothers_place_is_noticed(size_and_index):
    size, index = size_and_index
    parts = gradients(size)
    swapped = [*parts[:index], parts[index - 1], *parts[index + 1 :]]
    assert excess(parts, tree_sum(swapped, list(range(size)))) > 1.0


@given(st.integers(1, 70), st.integers(0, 34))
def test_one_altered_entry_is_noticed(size, entry):
    parts = gradients(size)
    total = {name: array.copy() for name, array in sum_by_definition(parts).items()}
    total["W1"].flat[entry] += 1e-3 * sum(abs(part["W1"].flat[entry]) for part in parts)
    assert excess(parts, total) > 1.0


@pytest.mark.parametrize(
    "value",
    [
        np.inf,
        -np.inf,
        np.nan,
    ],
)
def test_an_entry_that_is_no_number_is_noticed(value):
    parts = gradients(10)
    total = {name: array.copy() for name, array in sum_by_definition(parts).items()}
    total["W2"][3] = value
    assert not excess(parts, total) <= 1.0


def test_zeros_sum_to_zeros_and_to_nothing_else():
    parts = [{"a": np.zeros(3, np.float32)}] * 5
    assert excess(parts, {"a": np.zeros(3, np.float32)}) == 0.0
    assert excess(parts, {"a": np.float32([0.0, 1e-30, 0.0])}) > 1.0
