"""The dreamt emulator: a Gymnasium environment, played by the policy that was trained in the real game."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from bitexact.cli.exits import BadInput
from world_model.agent_games import play_game
from world_model.arcade import DreamtPong
from world_model.atari import trained_policy
from world_model.model import load

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "pretrained" / "atari-rnn"


def test_a_dream_is_a_gymnasium_environment() -> None:
    check_env(DreamtPong(load(MODEL), render_mode="rgb_array"), skip_render_check=False)


def test_a_dreamt_game_is_a_function_of_its_name() -> None:
    model, pixels = load(MODEL), []
    for _ in range(2):
        game = DreamtPong(model)
        game.reset(seed=1, options={"update": 2, "index": 3})
        seen = [game.advance(step // 7 % 2) and game.observe() for step in range(200)]
        pixels.append(np.concatenate([np.concatenate(one) for one in seen]))
    assert (pixels[0] == pixels[1]).all()


@pytest.mark.slow
def test_the_trained_policy_wins_in_the_dream_as_in_the_real_game() -> None:
    model = load(MODEL)
    rewards = [play_game(DreamtPong(model), trained_policy(), 0, index) for index in range(4)]
    assert np.mean(rewards) > 8  # a dream without the knob, or whose opponent does not wait at a serve: below 0


def test_a_model_of_the_table_is_refused() -> None:
    with pytest.raises(BadInput, match="atari"):
        load(ROOT / "pretrained" / "table-rnn", game="atari")
