"""Two runs compared: equal to the bit, or the first update, rollout and array that differ."""

import json
from pathlib import Path

import pytest
from real_runs import alter, alter_config, copied, damage, ends, is_one_sentence, lines
from small_runs import small_settings, train

import compare

pytest_plugins = ["real_runs"]


@pytest.fixture
def other(run: Path, tmp_path: Path) -> Path:
    """A second copy of the same run, to alter."""
    return copied(run, tmp_path / "other")


def compared(a: Path, b: Path) -> str:
    """What is said of two runs that are equal, whichever comes first."""
    one, two = ends(compare.main, a, b), ends(compare.main, b, a)
    assert (one.code, two.code) == (0, 0)
    assert one.output.splitlines()[-1] == two.output.splitlines()[-1]
    return one.output


def differing(a: Path, b: Path) -> str:
    """The sentence about two runs that differ, which names the same, whichever comes first."""
    one, two = ends(compare.main, a, b), ends(compare.main, b, a)
    assert (one.code, two.code) == (1, 1)
    assert one.sentence.split(". Their")[0] == two.sentence.split(". Their")[0]
    assert is_one_sentence(one.sentence)
    return one.sentence


def reverse(line: dict, *names: str) -> None:
    for name in names:
        line[name] = line[name][::-1]


def shorten(run: Path, updates: int) -> Path:
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        kept = [line for line in lines(run / name) if line["update"] <= updates]
        (run / name).write_text("".join(json.dumps(line) + "\n" for line in kept))
    return run


# ---- equal ------------------------------------------------------------------------------------------------------


def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(undisturbed, resumed):
    digest = lines(undisturbed / "metrics.jsonl")[-1]["weights_digest"]
    assert compared(undisturbed, resumed) == f"equal: 4 updates, up to update 4, weights digest {digest}\n"


def test_runs_of_different_length_are_compared_as_far_as_the_shorter_one_goes(run, other):
    shorten(other, 2)
    alter(run / "metrics.jsonl", lambda line: reverse(line, "weights_digest"), update=3)
    digest = lines(run / "metrics.jsonl")[1]["weights_digest"]
    assert compared(run, other) == f"equal: 2 updates, up to update 2, weights digest {digest}\n"


def test_settings_that_decide_nothing_may_differ(run, other):
    alter_config(other, actors=7, updates=1000, checkpoint_every=1, address="host:6379")
    compared(run, other)


def test_numbers_that_come_from_a_clock_may_differ(run, other):
    alter(other / "metrics.jsonl", lambda line: line.update(wall_time_s=0.5, learn_s=7.0, redispatched=3))
    compared(run, other)


# ---- different --------------------------------------------------------------------------------------------------


def test_the_first_update_rollout_and_array_that_differ_are_named(run, other):
    def change(line: dict) -> None:
        reverse(line, "digest")
        reverse(line["arrays"], "W2", "rewards")

    alter(other / "rollouts.jsonl", change, update=3, index=1)
    alter(other / "rollouts.jsonl", change, update=4, index=0)
    alter(other / "metrics.jsonl", lambda line: reverse(line, "weights_digest"), update=3)
    assert differing(run, other) == "update 3 differs: rollout 1, in its rewards."


def test_weights_that_differ_although_their_rollouts_are_equal_are_named(run, other):
    def change(line: dict) -> None:
        reverse(line, "weights_digest")
        reverse(line["array_digests"], "cache_W1")

    alter(other / "metrics.jsonl", change, update=2)
    assert differing(run, other) == "update 2 differs: its cache_W1, although its rollouts are equal."


@pytest.mark.parametrize(
    ("changes", "difference", "settings"),
    [
        ({"seed": 5}, "rollout 0, in its actions", "seed 0 and 5"),
        ({"learning_rate": 0.5}, "its W1, although its rollouts are equal", "learning_rate 0.001 and 0.5"),
        ({"decay_rate": 0.5}, "its W1, although its rollouts are equal", "decay_rate 0.99 and 0.5"),
        ({"batch_size": 2}, "rollout 2, which only one of them has", "batch_size 3 and 2"),
        ({"hidden_units": 2, "actors": 3}, "rollout 0, in its W1", "hidden_units 1 and 2"),
    ],
)
def test_settings_that_explain_a_difference_are_named(tmp_path, changes, difference, settings):
    a, b = small_settings(tmp_path / "a", updates=1), small_settings(tmp_path / "b", **{"updates": 1, **changes})
    train(a)
    train(b)
    sentence = differing(a.directory, b.directory)
    assert sentence.startswith(f"update 1 differs: {difference}")
    assert sentence.endswith(f". Their settings differ: {settings}.")


def test_package_versions_that_explain_a_difference_are_named(run, other):
    alter(other / "metrics.jsonl", lambda line: reverse(line, "weights_digest"), update=1)
    path = other / "config.json"
    config = json.loads(path.read_text())
    here, config["versions"]["numpy"] = config["versions"]["numpy"], "1.0"
    path.write_text(json.dumps(config))
    assert differing(run, other).endswith(f". Their package versions differ: numpy {here} instead of 1.0.")


# ---- damaged ----------------------------------------------------------------------------------------------------


def test_damaged_lines_are_named_and_the_rest_is_compared(run, other):
    damage(run / "metrics.jsonl", 1)
    damage(other / "rollouts.jsonl", 4)
    output = compared(run, other)
    assert f"{run / 'metrics.jsonl'} line 2 is damaged" in output
    assert f"{other / 'rollouts.jsonl'} line 5 is damaged" in output
    assert "equal: 3 updates, up to update 4" in output


def test_a_difference_is_found_beside_a_damaged_line(run, other):
    damage(run / "rollouts.jsonl", 0)
    alter(other / "rollouts.jsonl", lambda line: reverse(line, "digest"), update=1, index=1)
    assert differing(run, other) == "update 1 differs: rollout 1, in its recorded digest."


def test_a_torn_last_line_is_not_there(run, other):
    path = other / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-1])
    assert "equal: 3 updates, up to update 3" in compared(run, other)


# ---- bad input --------------------------------------------------------------------------------------------------


def test_runs_without_a_common_update_cannot_be_compared(run, other):
    ending = ends(compare.main, run, shorten(other, 0))
    assert ending.code == 2
    assert "no update in common" in ending.sentence
    assert is_one_sentence(ending.sentence)


def test_what_is_no_run_is_named(run, tmp_path):
    for arguments in ((run, tmp_path / "missing"), (tmp_path / "missing", run)):
        ending = ends(compare.main, *arguments)
        assert ending.code == 2
        assert f"{tmp_path / 'missing'} holds no run" in ending.sentence
        assert is_one_sentence(ending.sentence)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_two_runs_are_compared_no_more_no_less(undisturbed, count):
    ending = ends(compare.main, *[undisturbed] * count)
    assert ending.code == 2
    assert is_one_sentence(ending.sentence)


def test_comparing_writes_nothing(run, other):
    before = {path: path.stat().st_mtime_ns for path in run.parent.rglob("*")}
    compared(run, other)
    assert {path: path.stat().st_mtime_ns for path in run.parent.rglob("*")} == before
