"""What a training is given: each setting with its default, as `python -m world_model train --help` shows them."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import tyro

from bitexact.cli.exits import BadInput
from world_model.model import Structure
from world_model.model_path import expect_a_place
from world_model.network import KINDS, ModelName, ModelType


@dataclass(frozen=True)
class TrainSettings:
    """Train a network on the training split of a recording. Stops by updates, never by time."""

    recording: Path
    """folder of a recording"""
    out: Path
    """folder for the run and its model"""
    model_type: ModelName = "rnn"
    """kind of the network; RNNModel and TransformerModel are other names of the two"""
    structure: Structure = "gate"
    """gate: constant speed, plus what each event adds where it happens; plain: one output for each change"""
    updates: int = 8000
    """how many steps of the optimizer"""
    anneal_updates: int = 8000
    """the learning rate falls to a fiftieth over so many"""
    learning_rate: float = 2e-3
    """at the beginning"""
    windows: int = 128
    """in a batch"""
    window_steps: int = 16
    """in a window"""
    units: int = 48
    """of the recurrent unit or of a block"""
    head_units: int = 128
    """of the layer before the outputs"""
    epoch_updates: int = 500
    """so often the validation split is looked at and a checkpoint written"""
    episodes: int = 1_000_000
    """of the training split, at most"""
    seed: int = 0
    """of weights and batches"""
    device: Literal["cpu", "cuda"] = "cpu"
    """where JAX computes"""
    resume: bool = False
    """go on with the run in --out"""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """write TensorBoard's event files into the run's folder (tensorboard --logdir runs)"""
    mlflow: Annotated[str | None, tyro.conf.arg(metavar="[URI]")] = None
    """show the run to MLflow, and log the model: sqlite:///FILE or http://HOST:PORT; without one, a local database"""
    config: Path | None = None
    """a JSON file of these settings, updates as "updates"; what the command line says itself wins"""

    @property
    def kind(self) -> ModelType:
        """Of the network, whichever of its names was given."""
        return KINDS[self.model_type]

    def check(self) -> None:
        """Raise BadInput for what cannot be trained."""
        positive = ("updates", "anneal_updates", "windows", "units", "head_units", "epoch_updates", "episodes")
        for name in positive:
            if getattr(self, name) < 1:
                raise BadInput(f"--{name.replace('_', '-')} is a number from 1.")
        if not 0.0 < self.learning_rate < 1.0:
            raise BadInput("--learning-rate lies between 0 and 1.")
        if not 2 <= self.window_steps <= 256:
            raise BadInput("--window-steps is a number from 2 to 256.")
        if self.kind == "transformer" and self.units % 4:
            raise BadInput("--units of a transformer is a multiple of 4, its number of heads.")
        if not 0 <= self.seed < 2**63:
            raise BadInput("--seed is a whole number from 0 to 2^63 - 1.")
        if self.device == "cuda" and not _has_gpu():
            raise BadInput("--device cuda: JAX finds no GPU here; install jax[cuda12], or train with --device cpu.")

        expect_a_place(self.mlflow)

    def lasting(self) -> dict[str, Any]:
        """What decides the weights: all but where they are put, how far it goes and how often it is looked at."""
        left_out = ("recording", "out", "resume", "config", "tensorboard", "mlflow", "updates", "epoch_updates")
        settings = {name: value for name, value in dataclasses.asdict(self).items() if name not in left_out}
        return {**settings, "model_type": self.kind}

    def for_a_file(self) -> dict[str, Any]:
        """All of them, as --config takes them."""
        settings = {name: value for name, value in dataclasses.asdict(self).items() if name not in ("resume", "config")}
        return {name: str(value.absolute()) if isinstance(value, Path) else value for name, value in settings.items()}


def _has_gpu() -> bool:
    try:
        return bool(jax.devices("gpu"))
    except RuntimeError:
        return False
