"""A trained policy as one file of arrays, or out of a run's checkpoint: no pickle, and the digest inside is checked.

policy = from_run(Path("var/trainer/runs/tictactoe"), "main")       # of its newest checkpoint
save(policy, Path("policies/main.npz")); policy = load(Path("policies/main.npz"))
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from bitexact.cli.exits import BadInput
from bitexact.determinism.arrays import Arrays
from bitexact.storage import checkpoints
from bitexact.storage.checkpoints import BadCheckpoint, Checkpoints
from bitexact.storage.run import CHECKPOINTS
from bitexact.storage.state import State
from rllib_worker import policies
from rllib_worker.config import RayWorkerConfig
from rllib_worker.environments import EnvironmentFactory
from rllib_worker.kept import config_of
from rllib_worker.networks import Spec

_ABOUT, _WEIGHTS = "about", "trainer/modules/"


@dataclass(frozen=True)
class SavedPolicy:
    """Weights, and all that is needed to play with them."""

    name: str
    spec: Spec
    algorithm: str
    low: tuple[float, ...]  # of a continuous action; empty for a discrete one
    high: tuple[float, ...]
    weights: Arrays


def from_run(run: Path, module: str | None = None, iteration: int | None = None) -> SavedPolicy:
    """A module of a run, by default the first that learns, of a checkpoint, by default the newest. Raises BadInput."""
    config = config_of(run)
    kept = Checkpoints(run / CHECKPOINTS)
    if iteration is None and not kept.updates():
        raise BadInput(f"{run} has no checkpoint yet: let it train until there is one.")
    path = kept.path(kept.updates()[-1] if iteration is None else iteration)
    try:
        arrays = checkpoints.load_any(path).arrays()
    except BadCheckpoint as bad:
        raise BadInput(f"{bad}: name another with @ITERATION; there are {kept.updates()}.") from None
    return of_arrays(config, arrays, module)


def of_arrays(config: RayWorkerConfig, arrays: Arrays, module: str | None) -> SavedPolicy:
    """A module out of the arrays of a run's state. Raises BadInput."""
    game = EnvironmentFactory(config.environment, policies.needs_shared_value(config)).make()
    names = policies.modules(config, game.agents)
    name = names[0] if module is None else module
    if name not in names:
        raise BadInput(f"{config.run_id} has no policy {name}; it has {', '.join(names)}.")
    agent = name if name in game.agents else game.agents[0]
    space = game.action_spaces[agent]
    spec = Spec.of(game.layouts[agent], space, config.training.parameters())
    game.close()
    prefix = f"{_WEIGHTS}{name}/"
    weights = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
    return SavedPolicy(name, spec, config.training.algorithm, *_bounds(space), weights)


def _bounds(space: spaces.Space[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    if not isinstance(space, spaces.Box):
        return (), ()
    return tuple(space.low.ravel().tolist()), tuple(space.high.ravel().tolist())


def save(policy: SavedPolicy, path: Path) -> None:
    """Write a policy to a file. Raises DiskRefused."""
    about = {
        "name": policy.name,
        "spec": policy.spec.dump(),
        "algorithm": policy.algorithm,
        "low": policy.low,
        "high": policy.high,
    }
    described = np.frombuffer(json.dumps(about).encode(), np.uint8)
    checkpoints.write(path, State(0, {**policy.weights, _ABOUT: described}, {}))


def load(path: Path) -> SavedPolicy:
    """Read a policy from a file. Raises BadInput."""
    try:
        arrays = checkpoints.load_any(path).arrays()
        about = json.loads(arrays.pop(_ABOUT).tobytes())
    except BadCheckpoint as bad:
        raise BadInput(f"{bad}: name a file that a run exported.") from None
    except (KeyError, ValueError):
        raise BadInput(f"{path} holds no policy: name a file that a run exported.") from None
    spec = Spec.parse(about["spec"])
    return SavedPolicy(about["name"], spec, about["algorithm"], tuple(about["low"]), tuple(about["high"]), arrays)
