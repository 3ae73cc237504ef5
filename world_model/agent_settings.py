"""What whole games of a policy are given: each setting with its default, as `agent --help` shows them."""

from dataclasses import dataclass
from pathlib import Path

from bitexact.cli.exits import BadInput
from world_model.model_path import POLICY


@dataclass(frozen=True)
class AgentSettings:
    """Play whole games to 21 points in a dream and in the real game, and print both mean rewards and the gap."""

    model_path: str = "pretrained/atari-rnn"
    """a model of atari: a folder, or runs:/ID/name of MLflow"""
    policy: Path = POLICY
    """a checkpoint of the trainer, or weights alone"""
    games: int = 30
    """in each of both"""
    seed: int = 0
    """of the policy's and the games' streams"""
    processes: int = 1
    """how many play at the same time"""

    def check(self) -> None:
        """Raise BadInput for what cannot be played."""
        if not 1 <= self.games <= 10_000 or not 1 <= self.processes <= 256:
            raise BadInput("--games is a number from 1 to 10,000, --processes one from 1 to 256.")
