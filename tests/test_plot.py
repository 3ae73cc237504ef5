"""plot.py: pictures of real runs, and bands against medians by hand."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_runs import alter, alter_config, copied, ends, is_one_sentence

import plot
from training import learning_curve
from training.learning_curve import Curve
from training.pace import SPENT

pytest_plugins = ["real_runs"]


def curve(*rewards: float, minutes: float = 1.0) -> Curve:
    count = np.arange(1, len(rewards) + 1)
    return Curve(np.array(rewards), minutes * count, 10 * count, 12.5 * count, *np.full((3, len(rewards)), np.nan))


def test_it_draws_a_real_run(run, tmp_path):
    picture = tmp_path / "curve.png"
    ending = ends(plot.main, run, f"--out={picture}")
    assert ending.code == 0
    assert "after" in ending.output
    with Image.open(picture) as image:
        assert image.size == (2100, 540)
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20, "something was drawn"


def test_its_curve_is_the_ledgers(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    found = learning_curve.read(run)
    assert found.reward.tolist() == [line["reward_mean_100"] for line in lines]
    assert found.minutes[-1] == lines[-1]["wall_time_s"] / 60
    assert found.games.tolist() == [2, 4, 6, 8]
    assert found.steps[-1] == sum(line["steps"] for line in lines) / 1000


def test_it_says_what_part_of_the_time_went_where_of_the_updates_that_know(run, tmp_path):
    def spend(line: dict) -> None:
        line.update(steps=2000, steps_per_s=1000.0, learn_s=0.5, idle_s=1.0, commit_s=0.1)
        if line["update"] == 1:  # as by an earlier version
            del line["learn_s"]

    alter(run / "metrics.jsonl", spend)
    found = learning_curve.read(run)
    np.testing.assert_array_equal(found.learning, [np.nan, 0.25, 0.25, 0.25])
    np.testing.assert_array_equal([found.idle, found.writing], np.outer([0.5, 0.05], np.ones(4)))
    drawn = plot.draw({"a": [found]}).axes
    assert [axes.get_xlabel() for axes in drawn] == ["minutes", "games", "thousand steps", "minutes"]
    assert [line.get_ydata()[-1] for line in drawn[-1].lines] == [0.25, 0.5, 0.05]


def test_runs_that_do_not_say_where_time_went_are_drawn_without_it(run, tmp_path):
    alter(run / "metrics.jsonl", lambda line: [line.pop(name) for name in SPENT])
    assert ends(plot.main, run, f"--out={tmp_path / 'curve.png'}").code == 0
    assert len(plot.draw({"a": [learning_curve.read(run)]}).axes) == 3


def test_seeds_become_one_curve_and_other_settings_another(undisturbed, tmp_path):
    changes = {"a": {}, "b": {"seed": 5}, "c": {"discount": 0.5}, "d": {"preset": "ppo", "learning_rate": 1e-4}}
    runs = []
    for name, change in changes.items():
        runs.append(copied(undisturbed, tmp_path / name))
        alter_config(runs[-1], **change)
    ending = ends(plot.main, *runs, f"--out={tmp_path / 'curves.svg'}")
    assert ending.code == 0
    labels = [line.split("|")[1].strip() for line in ending.output.splitlines()[2:]]
    assert labels == ["reinforce, discount 0.99", "reinforce, discount 0.5", "ppo"]
    assert (tmp_path / "curves.svg").stat().st_size > 10_000


def test_the_table_says_when_a_full_hundred_rollouts_were_at_a_goal():
    early = curve(*[5.0] * 9, 11.0, 9.0, 19.0)  # the goal of 0 is met at once, but a hundred games only at the tenth
    late = curve(*[-21.0] * 19, 1.0, minutes=2.0)
    assert [plot.reached(early, goal) for goal in plot.GOALS] == [10.0, 10.0, 12.0]
    header, _, both, one = plot.table({"a": [early, late], "b": [late]}).splitlines()
    goals, times = "reaches 0 | reaches 10 | reaches 18", "after 10 min | after 20 min | after 30 min"
    assert header == f"| | {goals} | {times} | ends at |"
    assert both.split(" | ")[1] == "25.0 min (10.0 min to 40.0 min)"
    assert both.split(" | ")[2:4] == ["not (10.0 min to not)", "not (12.0 min to not)"]
    assert both.split(" | ")[4:7] == ["-5.0 (-21.0 to +11.0)", "-", "-"], "one ended after twelve"
    assert one == "| b | 40.0 min | not | not | -21.0 | -21.0 | -21.0 | +1.0 after 40 min |"


def test_a_reward_after_so_long_is_the_last_until_then():
    slow = curve(1.0, 2.0, 3.0, minutes=15.0)
    assert math.isnan(plot.after(slow, 10)), "no update yet"
    assert [plot.after(slow, minutes) for minutes in (15, 20, 44)] == [1.0, 1.0, 2.0]
    assert math.isnan(plot.after(slow, 46)), "the run had ended"


def test_one_update_is_enough(tmp_path):
    figure = plot.draw({"a": [curve(-21.0)], "b": [curve(-20.0), curve(-19.0, minutes=2.0)]})
    figure.savefig(tmp_path / "one.png")


def without_updates(path: Path) -> Path:
    (path / "metrics.jsonl").write_text("")
    return path


@pytest.mark.parametrize("what", ["no run", "no update", "another ending", "nowhere to write"])
def test_what_is_missing_is_said(run, tmp_path, what):
    arguments = {
        "no run": [tmp_path / "missing", f"--out={tmp_path / 'a.png'}"],
        "no update": [without_updates(run), f"--out={tmp_path / 'a.png'}"],
        "another ending": [run, "--out=a.gif"],
        "nowhere to write": [run, f"--out={tmp_path / 'missing' / 'a.png'}"],
    }[what]
    ending = ends(plot.main, *arguments)
    assert ending.code == 2
    assert is_one_sentence(ending.sentence)
