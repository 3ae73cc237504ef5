"""What one timeline is about: drawn by the `first_` command, begun by the trainer's supervisor, heeded by the others.

    scenario.draw()      the file in the volume that all containers see; it stays as it is once it is there
    scenario.read()      what was drawn; None before that

Each timeline trains by another preset, seed and batch, with other time-outs, and leaves some commands out altogether:
what a few kinds of faults bring about, they do more often without the others (swarm testing). Every run that may be
drawn is one of those whose golden digests are known (golden.py).

The SDK is imported where something is drawn, not here: whoever reads a scenario may have to direct its output first.
"""

import dataclasses
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bitexact.storage import durable

FILE = Path("/scenario/scenario.json")
Preset = Literal["ppo", "reinforce"]
RUN = "scenario"  # its run directory, beside that of the setup
# What a policy is like that commits many updates a minute.
PRESETS: dict[Preset, dict[str, Any]] = {"ppo": {"hidden_units": 16, "epochs": 1}, "reinforce": {"hidden_units": 16}}
SEEDS, BATCH_SIZES = (0, 1, 2), (2, 4)
CHECKPOINT_EVERY = (1, 3, 10)
ROLLOUT_TIMEOUT_S, CLUSTER_TIMEOUT_S = (3.0, 6.0, 15.0), (20.0, 60.0)
WEIGHTED = (  # the commands that a scenario may leave out
    *(f"{how}_{what}" for how in ("kill", "freeze") for what in ("actor", "raylet", "driver")),
    *("kill_gcs", "replay_update", "evaluate_checkpoint", "second_driver"),
)
WEIGHTS, ALWAYS = (0, 0, 1, 2, 4), 4  # how often of four times a command does what it is for


@dataclass(frozen=True)
class Scenario:
    """The run of a timeline, and how often each command is to act."""

    preset: Preset
    seed: int
    batch_size: int
    checkpoint_every: int
    rollout_timeout_s: float
    cluster_timeout_s: float
    weights: dict[str, int]

    def flags(self) -> list[str]:
        """The driver's."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "weights"}
        return [f"--{name.replace('_', '-')}={value}" for name, value in (own | PRESETS[self.preset]).items()]

    def wants(self, command: str) -> bool:
        """Whether a command is to act this time."""
        from antithesis.random import random_choice

        return bool(random_choice(list(range(ALWAYS))) < self.weights.get(command, ALWAYS))


def draw() -> Scenario:
    """Draw this timeline's scenario, unless that is done. Each draw is one of the SDK's: the platform may steer it."""
    from antithesis.random import random_choice

    drawn = read()
    if drawn is None:
        drawn = Scenario(
            preset=random_choice(list(PRESETS)),
            seed=random_choice(list(SEEDS)),
            batch_size=random_choice(list(BATCH_SIZES)),
            checkpoint_every=random_choice(list(CHECKPOINT_EVERY)),
            rollout_timeout_s=random_choice(list(ROLLOUT_TIMEOUT_S)),
            cluster_timeout_s=random_choice(list(CLUSTER_TIMEOUT_S)),
            weights={command: random_choice(list(WEIGHTS)) for command in WEIGHTED},
        )
        durable.write_atomically(path(), json.dumps(dataclasses.asdict(drawn)).encode())
    return drawn


def read() -> Scenario | None:
    """The scenario that was drawn, if one was."""
    try:
        return Scenario(**json.loads(path().read_bytes()))
    except FileNotFoundError:
        return None


def path() -> Path:
    """Where the scenario is, here."""
    return Path(os.environ.get("RAY_PONG_SCENARIO", FILE))
