"""A model on the disk: model.json says what it is, weights.safetensors holds its arrays. At most 1 MB; no pickle.

    model = load(Path("pretrained/table-rnn"))
    model.network(memory, features)

Shapes follow from model.json and are checked before anything is computed.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bitexact.cli.exits import BadInput
from bitexact.storage import durable
from world_model import features, files
from world_model.features import Constants
from world_model.network import LARGEST, Network, Shape
from world_model.recording import layout_from
from world_model.states import PREDICTED_EVENTS, Layout

VERSION = 1
CONFIG, WEIGHTS = "model.json", "weights.safetensors"
Structure = Literal["gate", "plain"]
TURNS = 3  # the events that change the ball's course: hit left, hit right, wall
KEPT = 128  # serves after each side's point, and first states, that a model draws from


@dataclass(frozen=True)
class Model:
    """All that a dream needs."""

    layout: Layout
    shape: Shape
    structure: Structure
    constants: Constants
    weights: dict[str, np.ndarray]
    serves: np.ndarray  # float64 [2, KEPT, P]: states just served, after a point of the left and of the right
    starts: np.ndarray  # float64 [KEPT, V]: first states
    training: dict[str, Any]  # the settings and figures it comes from

    @property
    def network(self) -> Network:
        """Laid out anew: keep it."""
        return Network(self.shape, self.weights)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays under one name each."""
        constants = {f"constant_{name}": array for name, array in vars(self.constants).items()}
        weights = {f"weight_{name}": array for name, array in self.weights.items()}
        return {**weights, **constants, "serves": self.serves, "starts": self.starts}


def outputs(layout: Layout, structure: Structure) -> int:
    """How many numbers a network gives: an event each, a change of each variable, and one more at each turn."""
    count = len(layout.variables)
    return len(PREDICTED_EVENTS) + count * (1 + TURNS if structure == "gate" else 1)


def save(folder: Path, model: Model) -> str:
    """Write a model into a folder, which is made: its digest. Raises DiskRefused."""
    with durable.refusing(folder):
        durable.make_folder(folder)
    about = {
        "version": VERSION,
        "layout": dataclasses.asdict(model.layout),
        "shape": dataclasses.asdict(model.shape),
        "structure": model.structure,
        "training": model.training,
    }
    digest = files.write(folder / WEIGHTS, model.arrays(), {})
    files.write_json(folder / CONFIG, {**about, "digest": digest})
    return digest


def load(folder: Path, game: str | None = None) -> Model:
    """Read a model, of a certain game where one is named. Raises BadInput, naming the file."""
    path = folder / CONFIG
    config = files.read_json(path)
    if config.get("version") != VERSION:
        raise BadInput(f"{path} is of version {config.get('version')!r}, not {VERSION}: train it anew.")
    layout = layout_from(config.get("layout"), path)
    if game and layout.game != game:
        raise BadInput(f"{folder} holds a model of {layout.game}, not of {game}: name one of {game}.")
    shape, structure = _shape(config, layout, path)
    arrays, about = files.read(folder / WEIGHTS, files.LARGEST_MODEL)
    if about["digest"] != config.get("digest"):
        raise BadInput(f"{folder / WEIGHTS} is not the file that {path} was written with: train it anew.")
    expected = _shapes(layout, shape)
    if {name: array.shape for name, array in arrays.items()} != expected:
        raise BadInput(f"{folder / WEIGHTS} does not have the shapes that {path} says: train it anew.")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise BadInput(f"{folder / WEIGHTS} holds numbers that are not finite: train it anew.")
    training = config.get("training")
    return Model(
        layout=layout,
        shape=shape,
        structure=structure,
        constants=Constants(**_part(arrays, "constant_")),
        weights=_part(arrays, "weight_"),
        serves=arrays["serves"],
        starts=arrays["starts"],
        training=training if isinstance(training, dict) else {},
    )


def _shape(config: dict[str, Any], layout: Layout, path: Path) -> tuple[Shape, Structure]:
    try:
        shape, structure = Shape(**config["shape"]), config["structure"]
        sizes = (shape.units, shape.head_units, shape.blocks, shape.heads, shape.window)
        known = shape.model_type in ("rnn", "transformer") and structure in ("gate", "plain")
        possible = known and all(isinstance(size, int) and 1 <= size <= 1024 for size in sizes)
        fits = possible and shape.inputs == features.width(layout) and shape.outputs == outputs(layout, structure)
        if not fits or shape.count() > LARGEST:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{path} does not describe a network of this version: train it anew.") from None
    return shape, structure


def _shapes(layout: Layout, shape: Shape) -> dict[str, tuple[int, ...]]:
    count = len(layout.variables)
    weights = {f"weight_{name}": size for name, size in shape.weights().items()}
    constants = {f"constant_{field.name}": (count,) for field in dataclasses.fields(Constants)}
    return {**weights, **constants, "serves": (2, KEPT, count), "starts": (KEPT, len(layout.columns))}


def _part(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
