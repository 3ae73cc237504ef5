"""One JSON file describes a run: these models read it, refuse what they do not know, and say so in one sentence.

    config = load(Path("run.json"), ["training.algo_params.lr=3e-4"])

`RayWorkerConfig.model_json_schema()` is the file's JSON Schema. What fits one field alone is checked here; what does
not go together is checked in `compatibility.py`, which has to look at the game.
"""

import json
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bitexact.cli.exits import BadInput
from rllib_worker import algo_params
from rllib_worker.catalog import FAMILIES

DEFAULT_OUTPUT = Path("var/trainer/runs")


class PolicyConfiguration(StrEnum):
    """Which agents share which network, and who plays whom."""

    PARAMETER_SHARING = "parameter_sharing"
    INDEPENDENT = "independent"
    SELF_PLAY = "self_play"
    SHARED_VALUE_FUNCTION = "shared_value_function"


class PettingZooAPIType(StrEnum):
    """Whether agents take turns (AEC) or move all at once."""

    AEC = "aec"
    PARALLEL = "parallel"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class EnvironmentConfig(_Model):
    """The game."""

    family: str = Field(description="sisl, classic, butterfly, mpe or atari")
    env_id: str = Field(description="the game's name with its version, as tictactoe_v3")
    api_type: PettingZooAPIType = Field(description="aec: agents take turns; parallel: they move all at once")
    render_mode: str | None = Field(None, pattern="^rgb_array$", description="rgb_array, or null for no pictures")
    env_kwargs: dict[str, Any] = Field(default_factory=dict, description="what the game itself is made with")

    @field_validator("family")
    @classmethod
    def _known(cls, family: str) -> str:
        if family not in FAMILIES:
            raise ValueError(f"there is no family {family}; choose one of {', '.join(FAMILIES)}")
        return family


class TrainingConfig(_Model):
    """The algorithm, and how long it trains."""

    algorithm: str = Field(description="PPO, A2C, DQN, IMPALA or APPO")
    total_timesteps: int = Field(gt=0, description="environment steps after which the run is done")
    algo_params: dict[str, Any] = Field(default_factory=dict, description="see `schema ALGORITHM`")

    @field_validator("algorithm")
    @classmethod
    def _known(cls, name: str) -> str:
        if name.upper() not in algo_params.ALGORITHMS:
            raise ValueError(f"there is no algorithm {name}; choose one of {', '.join(algo_params.ALGORITHMS)}")
        return name.upper()

    @model_validator(mode="after")
    def _parameters_fit(self) -> "TrainingConfig":
        algo_params.check(self.algorithm, self.algo_params)
        return self

    def parameters(self) -> dict[str, Any]:
        """The parameters in force: those given, over the schema's defaults."""
        return algo_params.defaults(self.algorithm) | self.algo_params


class ResourceConfig(_Model):
    """What the run may use of the machine."""

    num_workers: int = Field(2, ge=0, description="env runners beside the driver; 0: the driver plays itself")
    num_gpus: float = Field(0.0, ge=0.0, description="for the learner")
    num_cpus: int = Field(1, ge=1, description="CPUs a worker")


class CheckpointConfig(_Model):
    """When the state is kept."""

    checkpoint_freq: int = Field(10, ge=1, description="a checkpoint every so many iterations")
    checkpoint_at_end: bool = Field(True, description="and one at the end")
    keep_checkpoints_num: int = Field(5, ge=1, description="the last so many stay, and every hundredth iteration's")
    export_policy: bool = Field(False, description="at the end, write each policy's weights to policies/")


class RayWorkerConfig(_Model):
    """A run."""

    run_id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$", description="names the run's folder")
    environment: EnvironmentConfig
    policy_configuration: PolicyConfiguration
    training: TrainingConfig
    resources: ResourceConfig = ResourceConfig()  # type: ignore[call-arg]
    checkpoint: CheckpointConfig = CheckpointConfig()  # type: ignore[call-arg]
    output_dir: Path = Field(DEFAULT_OUTPUT, description="the run's folder is made here")
    seed: int = Field(0, ge=0, lt=2**63, description="all that is drawn comes from it")
    tensorboard: bool = Field(False, description="also write event files to tensorboard/")
    wandb: bool = Field(False, description="also log to wandb, which must be installed")
    fastlane_enabled: bool = Field(False, description="publish the first environment's frames in shared memory")
    fastlane_throttle_ms: int = Field(50, ge=0, description="at most one frame in so many milliseconds")
    extras: dict[str, Any] = Field(default_factory=dict, description="settings of one policy configuration")

    @property
    def directory(self) -> Path:
        """The run's folder."""
        return self.output_dir / self.run_id

    def dump(self) -> dict[str, Any]:
        """The whole config, defaults written out, as JSON values."""
        return self.model_dump(mode="json")


def load(path: Path, changes: Sequence[str] = ()) -> RayWorkerConfig:
    """Read a config file, with some values changed ("training.algo_params.lr=3e-4"). Raises BadInput."""
    try:
        values = json.loads(path.read_text())
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): name a JSON file with --config.") from None
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}): mend it.") from None
    if not isinstance(values, dict):
        raise BadInput(f"{path} holds {type(values).__name__} where an object of fields is wanted: mend it.")
    for change in changes:
        _set(values, change)
    return parse(values, str(path))


def parse(values: dict[str, Any], where: str) -> RayWorkerConfig:
    """A config from JSON values. Raises BadInput with one sentence that names the field."""
    try:
        return RayWorkerConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            reason = "there is no such field"
        raise BadInput(f"{where}: {field}: {reason[0].lower()}{reason[1:]}.") from None


def _set(values: dict[str, Any], change: str) -> None:
    """Carry out one --set: a path of names, "=", and a JSON value, or a text that is none."""
    path, equals, text = change.partition("=")
    if not equals or not all(path.split(".")):
        raise BadInput(f"--set {change} is not FIELD=VALUE, as in --set training.algo_params.lr=3e-4.")
    *folders, name = path.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
        if not isinstance(values, dict):
            raise BadInput(f"--set {change}: {folder} has no fields.")
    try:
        values[name] = json.loads(text)
    except ValueError:
        values[name] = text
