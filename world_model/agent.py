"""Let the policy that comes with the project play whole games in a dream and in the real game.

python -m world_model agent --model-path pretrained/atari-rnn --games 30

Of a model that lies in its run's folder, the run's report then knows of these games, too.
"""

import contextlib
from collections.abc import Sequence

import numpy as np

from bitexact.cli import command_line
from bitexact.storage.config import CONFIG
from world_model import properties
from world_model.agent_settings import AgentSettings
from world_model.model import load
from world_model.model_path import resolve


def main(arguments: Sequence[str]) -> None:
    """The command."""
    settings = command_line.parse(AgentSettings, arguments, "python -m world_model agent")
    settings.check()
    folder = resolve(settings.model_path)
    load(folder, game="atari")  # complains here, not in each process
    is_a_run = (folder / CONFIG).exists()
    with properties.noted_in(folder) if is_a_run else contextlib.nullcontext():
        from world_model.agent_games import play_games  # only now: it imports the SDK

        means = {}
        for name, model in (("dream", folder), ("real game", None)):
            rewards = play_games(model, settings)
            means[name] = mean = float(np.mean(rewards))
            print(f"{name:10} mean reward {mean:+.2f} over {len(rewards)} games, from {min(rewards)} to {max(rewards)}")
    print(f"gap        {means['dream'] - means['real game']:+.2f}")
