"""Every property: catalogued once, passed by what is good, failed by what is broken, and written down as both."""

import inspect
import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from antithesis.catalog import Assertion, scan_source, scan_tree

import invariants
from bitexact.cli.exits import PropertyFailed

ROOT = Path(__file__).resolve().parents[2]
WHERE = {"update": 3, "index": 1}

_weights = {"W1": np.ones((3, 2), np.float32), "W2": np.ones(2, np.float32)}


def _with(name: str, array: np.ndarray) -> dict[str, np.ndarray]:
    return {**_weights, name: array}


def _entry(value: float) -> dict[str, np.ndarray]:
    return _with("W2", np.float32([1.0, value]))


# For each guarded property what it lets pass and what it must catch, without the last argument.
GUARDED = {
    "a_step_wins_or_loses_one_point_at_most": (
        [(np.int8([0, 1, -1, 0]),), (np.int8([]),), (np.float64([1.0, -1.0]),)],
        [(np.int8([0, 2]),), (np.int8([-2]),), (np.float64([math.nan]),)],
    ),
    "a_probability_lies_within_0_and_1": (
        [(np.float64([0.0, 0.5, 1.0]),), (np.float64([]),)],
        [(np.float64([0.5, math.nan]),), (np.float64([-1e-300]),), (np.float64([1.0 + 2**-52]),)],
    ),
    "a_reward_lies_within_21_points": ([(0,), (21,), (-21,)], [(22,), (-22,)]),
    "a_game_played_out_has_a_side_at_21": (
        [(21, 0), (0, 21), (21, 20), (20, 21)],
        [(20, 20), (0, 0), (21, 21), (22, 3), (3, 22)],
    ),
    "a_gradient_has_the_shape_of_the_weights": (
        [(_entry(5.0), _weights)],
        [
            (_with("W2", np.ones(3, np.float32)), _weights),
            (_with("W2", np.ones((2, 1), np.float32)), _weights),
            (_with("W2", np.ones(2, np.float64)), _weights),
            (_with("W3", np.ones(2, np.float32)), _weights),
            ({"W1": _weights["W1"]}, _weights),
            ({}, _weights),
        ],
    ),
    "a_gradient_is_finite": ([(_weights,)], [(_entry(math.nan),), (_entry(math.inf),), (_entry(-math.inf),)]),
    "a_batch_holds_each_index_once": (
        [([0, 1, 2], 3), ([2, 0, 1], 3), ([0], 1)],
        [([0, 1], 3), ([0, 1, 1], 3), ([0, 1, 2, 2], 3), ([0, 1, 3], 3), ([1, 2, 3], 3), ([-1, 0, 1], 3), ([], 1)],
    ),
    "a_pass_uses_each_step_once": (
        [([np.array([1, 0])], 2), ([np.array([2]), np.array([0, 1])], 3)],
        [([np.array([0, 1])], 3), ([np.array([0, 1]), np.array([1])], 2), ([np.array([0, 0])], 2)],
    ),
    "a_result_comes_from_the_current_weights": ([("ab", "ab")], [("ab", "ac"), ("", "ab")]),
    "a_rollout_done_twice_gives_the_same_bytes": ([("ab", "ab")], [("ab", "ac"), ("ab", "")]),
    "a_sum_agrees_with_float64": ([(0.0,), (1.0,)], [(1.0 + 2**-52,), (math.inf,), (math.nan,)]),
    "a_sum_made_on_nodes_holds_each_rollout_once": ([(True,)], [(False,)]),
    "a_sum_made_on_nodes_agrees_with_float64": ([(0.0,), (1.0,)], [(1.0 + 2**-52,), (math.inf,), (math.nan,)]),
    "a_gradient_agrees_with_float64": ([(0.0,), (1.0,)], [(1.0 + 2**-52,), (math.inf,), (math.nan,)]),
    "a_step_agrees_with_float64": ([(0.0,), (1.0,)], [(1.0 + 2**-52,), (math.inf,), (math.nan,)]),
    "weights_are_finite": ([(_weights,)], [(_entry(math.nan),), (_entry(math.inf),), (_entry(-math.inf),)]),
    "no_weight_moves_further_than_the_optimizer_can": (
        [(0.0, 0.01), (0.01, 0.01)],
        [(math.nextafter(0.01, 1.0), 0.01), (math.nan, 0.01), (math.inf, 0.01)],
    ),
    "no_optimizer_state_is_denormal": ([(0,)], [(1,)]),
    "a_mean_square_is_never_negative": ([(_weights,), (_entry(0.0),)], [(_entry(-1e-38),), (_entry(math.nan),)]),
    "a_rollout_is_begun_within_its_limit": ([(1, 20), (20, 20), (0, 20)], [(21, 20)]),
    "updates_are_committed_in_order": ([(1, 0), (8, 7), (7, 7), (3, 7)], [(9, 7), (0, 0), (0, 7), (-1, 7), (2, 0)]),
    "an_update_done_again_gives_its_recorded_digest": ([("ab", "ab")], [("ab", "ac"), ("", "ab")]),
    "an_update_has_its_golden_digest": ([("ab", "ab")], [("ab", "ac"), ("", "ab")]),
    "a_resumed_run_continues_after_its_checkpoint": ([(1, 0), (101, 100)], [(100, 100), (102, 100), (0, 0)]),
    "a_checkpoint_reads_back_as_written": ([("ab", "ab")], [("ab", "ac"), ("", "ab")]),
    "one_driver_writes_a_run": ([(True,)], [(False,)]),
    "a_score_never_decreases": (
        [(np.array([0, 0, 1, 2]), np.array([0, 3, 3, 4])), (np.array([]), np.array([]))],
        [(np.array([0, 1, 0]), np.array([0, 0, 0])), (np.array([0, 0, 0]), np.array([5, 4, 5]))],
    ),
    "a_score_is_the_sum_of_its_rewards": ([(0, 0), (21, 21)], [(20, 21), (21, 20)]),
    "a_ledger_holds_each_update_once": ([([],)], [(["update 3 is missing"],), (["one"] * 9,)]),
    "a_recorded_update_can_be_replayed": ([("",)], [("W1 differs",)]),
    "what_was_committed_stays": ([([],)], [(["3"],), (["3"] * 9,)]),
    "a_copy_can_be_resumed": ([(True,)], [(False,)]),
    "a_second_driver_is_refused": ([(True,)], [(False,)]),
    "training_advances": ([(True,)], [(False,)]),
}

# For each property of what must happen some time, what shows it and what does not.
REACHED = {
    "a_point_is_won": ([(1,), (21,)], [(0,)]),
    "a_late_duplicate_is_dropped": ([()], []),
    "an_update_is_done_again": ([()], []),
    "a_run_resumes_after_update_0": ([(1,), (500,)], [(0,)]),
    "a_batch_completes_although_an_actor_died": ([(1,), (4,)], [(0,)]),
    "a_rollout_moves_to_another_node": ([(1,), (9,)], [(0,)]),
}

NEVER = {"no_exception_is_our_own"}  # reached by a bug alone

GOOD = [(name, args) for name, (good, _) in GUARDED.items() for args in good]
BAD = [(name, args) for name, (_, bad) in GUARDED.items() for args in bad]


def properties() -> dict:
    """The public functions of the module, but for the decorator and for what tells events."""
    return {
        name: function
        for name, function in vars(invariants).items()
        if inspect.isfunction(function)
        and function.__module__ == invariants.__name__
        and not name.startswith("_")
        and name not in ("guard", "it_happens")
    }


def messages() -> dict[str, str]:
    """Each function's message."""
    return {assertion.location.function: assertion.message for assertion in catalogue()}


def catalogue() -> list[Assertion]:
    return scan_source((ROOT / "invariants.py").read_text(), "invariants.py")


# ---- the catalogue ----------------------------------------------------------------------------------------------


def test_every_property_has_one_place_in_the_catalogue():
    places = Counter(assertion.location.function for assertion in catalogue())
    assert places == Counter(properties().keys())


def test_every_message_is_unique_and_says_something():
    found = [assertion.message for assertion in catalogue()]
    assert len(set(found)) == len(found)
    assert all(message[0].isupper() and " " in message and not message.endswith(".") for message in found)


def test_only_this_module_asserts_through_the_sdk():
    """Each system has one of its own, and no message is used twice in the project."""
    found = scan_tree(str(ROOT))
    elsewhere = [one for one in found if not one.location.file.endswith("/invariants.py")]
    assert elsewhere == catalogue()
    assert not [message for message, count in Counter(one.message for one in found).items() if count > 1]


def test_the_catalogue_sees_no_message_but_a_literal():
    # Why a message may not be put together or passed on: the property would be missing from every report.
    source = "from antithesis.assertions import always\n" + "def f(m): always(True, {}, {{}})\n"
    assert [a.message for a in scan_source(source.format("'As written'"), "f.py")] == ["As written"]
    for hidden in ("m", "f'{m}'", "'As ' + m"):
        assert scan_source(source.format(hidden), "f.py") == []


def test_properties_that_must_hold_guard_and_others_must_be_reached():
    guarded = {name for name, function in properties().items() if hasattr(function, "__wrapped__")}
    assert guarded == set(GUARDED)
    assert properties().keys() - guarded == set(REACHED) | NEVER
    kinds = {assertion.location.function: assertion.kind.value for assertion in catalogue()}
    assert {kinds[name] for name in GUARDED} == {"Always"}
    assert {kinds[name] for name in REACHED} == {"Sometimes", "Reachable"}
    assert {kinds[name] for name in NEVER} == {"Unreachable"}


# ---- what they let pass and what they catch ---------------------------------------------------------------------


def _title(case: object) -> str | None:
    return case if isinstance(case, str) else None


@pytest.mark.parametrize(("name", "args"), GOOD, ids=_title)
def test_what_is_good_passes(name, args):
    assert getattr(invariants, name)(*args, WHERE) is None


@pytest.mark.parametrize(("name", "args"), BAD, ids=_title)
def test_what_is_broken_is_caught_and_named(name, args):
    with pytest.raises(PropertyFailed) as failure:
        getattr(invariants, name)(*args, WHERE)
    assert str(failure.value) == f"property failed: {name.replace('_', ' ')} (update 3, index 1)"


@pytest.mark.parametrize("name", REACHED)
def test_what_must_be_reached_never_raises(name):
    for args in REACHED[name][0] + REACHED[name][1]:
        assert getattr(invariants, name)(*args, WHERE) is None


def test_where_may_be_given_by_name():
    with pytest.raises(PropertyFailed, match="update 3"):
        invariants.a_reward_lies_within_21_points(22, where=WHERE)


# ---- what the SDK is told ---------------------------------------------------------------------------------------

_TOLD = {
    "always": lambda condition, message, details: (condition, message, details),
    "sometimes": lambda condition, message, details: (condition, message, details),
    "reachable": lambda message, details: (True, message, details),
    "always_less_than_or_equal_to": lambda left, right, message, details: (left <= right, message, details),
}


@pytest.fixture
def told(monkeypatch) -> list:
    """What reaches the SDK: condition, message and details of each call."""
    calls = []
    for name, as_told in _TOLD.items():
        monkeypatch.setattr(invariants, name, lambda *args, as_told=as_told: calls.append(as_told(*args)))
    return calls


def _evaluate(name: str, args: tuple) -> bool:
    """Whether the property let it pass."""
    try:
        getattr(invariants, name)(*args, WHERE)
    except PropertyFailed:
        return False
    return True


@pytest.mark.parametrize(("name", "args"), GOOD + BAD, ids=_title)
def test_the_sdk_is_told_what_was_decided_in_pythons_own_types(told, name, args):
    passed = _evaluate(name, args)
    ((condition, message, details),) = told
    assert type(condition) is bool
    assert condition == passed
    assert message == messages()[name]
    assert details.items() >= WHERE.items()
    json.dumps(details)


@pytest.mark.parametrize("name", REACHED)
def test_the_sdk_is_told_what_was_reached(told, name):
    reached, missed = REACHED[name]
    for args in reached + missed:
        getattr(invariants, name)(*args, WHERE)
    assert [condition for condition, _, _ in told] == [True] * len(reached) + [False] * len(missed)
    assert {type(condition) for condition, _, _ in told} == {bool}
    assert {message for _, message, _ in told} == {messages()[name]}


def test_the_sdk_refuses_a_numpy_bool():
    # Even where it writes nothing: a property that lets one through breaks every run.
    with pytest.raises(TypeError):
        invariants.always(np.bool_(True), "A numpy bool is refused", WHERE)


def test_a_reward_that_is_not_an_integer_fails_in_the_report_too(told):
    passed = _evaluate("a_reward_lies_within_21_points", (0.5,))
    assert [condition for condition, _, _ in told] == [passed] == [False]


def test_a_score_that_decreases_is_caught_in_the_emulators_own_bytes():
    with pytest.raises(PropertyFailed):
        invariants.a_score_never_decreases(np.uint8([5, 3]), np.uint8([0, 0]), WHERE)


def evaluate_all() -> None:
    """Evaluate each case of this module: what the test below does in a process of its own."""
    for name, args in GOOD + BAD:
        _evaluate(name, args)
    for name, (reached, missed) in REACHED.items():
        for args in reached + missed:
            getattr(invariants, name)(*args, WHERE)


def test_passes_and_failures_are_written_to_the_local_file(tmp_path):
    # The SDK chooses its output when it is first imported, so it takes a process of its own.
    output = tmp_path / "properties.jsonl"
    subprocess.run(
        [sys.executable, "-c", "import test_invariants; test_invariants.evaluate_all()"],
        env={
            **os.environ,
            "ANTITHESIS_SDK_LOCAL_OUTPUT": str(output),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
        },
        check=True,
        capture_output=True,
        timeout=120,
    )
    lines = [json.loads(line) for line in output.read_text().splitlines()]
    assert not [line for line in lines if "antithesis_error" in line]
    written = {
        (line["antithesis_assert"]["message"], line["antithesis_assert"]["condition"])
        for line in lines
        if "antithesis_assert" in line
    }
    expected = {(messages()[name], outcome) for name in GUARDED for outcome in (True, False)}
    expected |= {(messages()[name], True) for name in REACHED}
    expected |= {(messages()[name], False) for name, (_, missed) in REACHED.items() if missed}
    assert written == expected
