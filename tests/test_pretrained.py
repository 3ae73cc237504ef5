"""The weights that come with the program play as the text beside them says, and its command leads to them."""

import json
import re
import shlex

import pytest
from commands import ROOT, digests_without_ray

from bitexact.determinism.digests import fingerprint
from pong.evaluation import EvaluationTask, evaluation_id
from pong.evaluation_summary import summary
from pong.game import Pong
from training import saved_policy, settings
from training.settings import DECIDE_THE_RESULT

WEIGHTS = saved_policy.load(ROOT / "pretrained" / "pong.npz", print).weights
TEXT = (ROOT / "pretrained" / "pong.txt").read_text()


def said(name: str) -> str:
    """What the text says of something."""
    (found,) = re.findall(rf"^{name} {{2,}}(.+)$", TEXT, re.MULTILINE)
    return found


def test_it_is_of_these_weights():
    assert said("weights") == fingerprint(WEIGHTS)


@pytest.mark.slow
def test_its_command_has_its_settings_and_its_first_digests():
    words = shlex.split(said("command"))
    assert words[:2] == ["python", "driver.py"]
    chosen = settings.from_command_line(words[2:])
    of_it = {name: getattr(chosen, name) for name in DECIDE_THE_RESULT}
    assert of_it == json.loads(said("settings"))
    first = said("first digests").split()
    assert [digests.weights for digests in digests_without_ray(len(first), **of_it)] == first


@pytest.mark.slow
@pytest.mark.parametrize("greedy", [True, False])
def test_it_wins_nine_of_ten_games(greedy):
    game, task = Pong(), EvaluationTask(greedy)
    found = summary([task.run(game, WEIGHTS, evaluation_id(0, index))[1] for index in range(10)])
    assert found["games_won"] >= 9
