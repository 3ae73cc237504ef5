"""A training run: its settings, its directory, its loop.

runs/NAME/config.json            settings, package versions, recording: what decides the weights
runs/NAME/train.json             all settings, as --config takes them
runs/NAME/checkpoint.safetensors weights and optimizer state after an update, to go on from
runs/NAME/model.json, weights.safetensors   the model as of then, ready to be played
runs/NAME/metrics.jsonl          a line an epoch
runs/NAME/properties/            what was seen of the properties, for report.py
"""

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bitexact.cli.exits import BadInput
from bitexact.cli.interrupts import Interrupts
from bitexact.determinism import digests
from bitexact.determinism.streams import Stream
from bitexact.storage import durable
from world_model import files, invariants, learned_network, recording, tracking
from world_model.exact import played_again
from world_model.features import Constants, width
from world_model.learned_network import Windows
from world_model.measure import rollout_errors
from world_model.model import TURNS, Model, load, outputs, save
from world_model.network import LARGEST, Shape
from world_model.pools import pools
from world_model.recording import Recording
from world_model.states import BALL_X, SPEED_Y, Purpose
from world_model.train_settings import TrainSettings
from world_model.windows import Batches, Steps, prepared

_CONFIG, _CHECKPOINT, _METRICS = "config.json", "checkpoint.safetensors", "metrics.jsonl"
SETTINGS = "train.json"
_PACKAGES = ("jax", "jaxlib", "numpy", "optax")
_PLAYED_AGAIN = 4000  # steps of a recorded game: a fraction of a second


@dataclass
class Progress:
    """Where a run is: the weights, the optimizer's state, and the updates done."""

    update: int
    weights: dict[str, Any]
    optimizer: Any


def run(settings: TrainSettings, tell: Callable[[str], None]) -> Model:
    """Train until the updates are done: the model. Raises BadInput, DiskRefused, Interrupted."""
    settings.check()
    interrupts = Interrupts()
    training = recording.read(settings.recording, "training", settings.episodes)
    validation = recording.read(settings.recording, "validation")
    constants, steps = prepared(training, settings.structure == "gate")
    batches = Batches(steps, settings.seed, settings.windows, settings.window_steps)
    if not batches.usable:
        raise BadInput(
            f"{settings.recording} has no rally of {settings.window_steps} steps: take fewer --window-steps."
        )
    shape = _shape(settings, training)
    tell(f"{shape.count():,} weights, {len(steps):,} steps in {len(training.episodes)} episodes")
    optimizer = _optimizer(settings)
    weights = initial_weights(shape, settings.seed)
    config = _config(settings, training, digests.digest(weights))
    state = _begin(settings, config, weights, optimizer)
    _expect_sound_games(training, validation)
    advance = _advance(settings, shape, steps, training, optimizer)
    model_of = partial(_model, settings, shape, constants, training, config)
    interrupts.defer()
    began, first, losses = time.monotonic(), state.update, []
    with tracking.shown(settings.out, settings.tensorboard, settings.mlflow, tell) as show:
        while state.update < settings.updates:
            state.update += 1
            starts = jnp.asarray(batches(state.update), jnp.int32)
            state.weights, state.optimizer, loss = advance(state.weights, state.optimizer, starts)
            losses.append(loss)
            if state.update % settings.epoch_updates == 0 or state.update == settings.updates:
                _close_epoch(settings, state, losses, model_of(state), validation, (began, first), tell)
                losses = []
                show()
                interrupts.check()
    return model_of(state)


def _expect_sound_games(training: Recording, validation: Recording) -> None:
    """Nothing is learned from a game that breaks the rules, nor from one that is to judge the model."""
    where = {"recording": training.digest}
    invariants.no_held_out_episode_is_trained_on(training.numbers, validation.numbers, where)
    for number, episode in zip(training.numbers, training.episodes, strict=True):
        invariants.an_episode_keeps_the_rules(episode, training.layout, {**where, "episode": number})
    if training.seed is not None:
        number, first = training.numbers[0], training.episodes[0]
        again = played_again(training.layout, training.seed, number, first.actions[:_PLAYED_AGAIN])
        of_it = {**where, "episode": number}
        invariants.the_exact_game_is_a_function_of_seed_and_actions(first.states[: len(again)], again, of_it)


def _shape(settings: TrainSettings, training: Recording) -> Shape:
    shape = Shape(
        model_type=settings.kind,
        inputs=width(training.layout),
        outputs=outputs(training.layout, settings.structure),
        units=settings.units,
        head_units=settings.head_units,
    )
    if shape.count() > LARGEST:
        raise BadInput(f"the network would have {shape.count():,} weights: at most {LARGEST:,}; take fewer --units.")
    return shape


def _optimizer(settings: TrainSettings) -> optax.GradientTransformation:
    rate = optax.linear_schedule(settings.learning_rate, settings.learning_rate / 50, settings.anneal_updates)
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))


def _advance(
    settings: TrainSettings, shape: Shape, steps: Steps, training: Recording, optimizer: optax.GradientTransformation
) -> Callable[..., Any]:
    """One update: weights, optimizer state, first steps of the windows [B] -> both anew, and the loss."""
    base = np.ones(len(training.layout.variables), np.float32)
    if settings.structure == "gate" and training.layout.straight:
        base[BALL_X : SPEED_Y + 1] = 0.0
    loss_of_weights = partial(learned_network.loss, shape, settings.structure, TURNS, training.layout.whole)
    held = [jnp.asarray(array) for array in (steps.features, steps.events, steps.mask, steps.change, steps.plays)]

    @partial(jax.jit, donate_argnums=(0, 1))
    def advance(weights: Any, state: Any, starts: Any, held: Any) -> Any:
        index = starts[:, None] + jnp.arange(settings.window_steps)
        features, events, mask, change, plays = (array[index] for array in held)
        windows = Windows(features, events, jnp.asarray(base), mask, change, plays)
        loss, gradient = jax.value_and_grad(loss_of_weights)(weights, windows)
        changes, state = optimizer.update(gradient, state, weights)
        return optax.apply_updates(weights, changes), state, loss

    return lambda weights, state, starts: advance(weights, state, starts, held)


def _close_epoch(
    settings: TrainSettings,
    state: Progress,
    losses: list[Any],
    model: Model,
    validation: Recording,
    since: tuple[float, int],
    tell: Callable[[str], None],
) -> None:
    """Look at the validation split, keep the weights, say how it went."""
    loss = float(np.mean([float(one) for one in losses]))
    where = {"update": state.update}
    invariants.loss_and_weights_are_finite(loss, model.weights, where)
    began, first = since
    seconds = time.monotonic() - began
    left = seconds / (state.update - first) * (settings.updates - state.update)
    errors = rollout_errors(model, validation, starts=64, horizons=(1, 15, 60), seed=0)
    _save(settings.out / _CHECKPOINT, state)
    digest = save(settings.out, model)
    invariants.a_model_reads_back_as_written(digests.digest(load(settings.out).arrays()), digest, where)
    metrics = {"update": state.update, "loss": loss, "wall_time_s": round(seconds, 1), "digest": digest, **errors}
    durable.append(settings.out / _METRICS, json.dumps(metrics).encode() + b"\n")
    shown = "  ".join(f"{name} {value:.4g}" for name, value in errors.items())
    tell(f"update {state.update}  loss {loss:.4f}  {shown}  {seconds:,.0f} s, {left:,.0f} s left  {digest[:12]}")


def _config(settings: TrainSettings, training: Recording, initial_digest: str) -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {
        "settings": settings.lasting(),
        "recording": training.digest,
        "versions": versions,
        "python": platform.python_version(),
        "processor": _processor(),
        "initial_digest": initial_digest,
    }


def _processor() -> str:
    """The class of processor that XLA compiles for: the bits of a training hold within it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    flags = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    known = [flag for flag in ("avx512f", "avx2", "fma") if flag in flags]
    return " ".join([platform.machine(), *known])


def _begin(
    settings: TrainSettings,
    config: dict[str, Any],
    first_weights: dict[str, np.ndarray],
    optimizer: optax.GradientTransformation,
) -> Progress:
    """The first state, or that of the run's checkpoint. Raises BadInput."""
    weights = {name: jnp.asarray(array) for name, array in first_weights.items()}
    first = Progress(0, weights, optimizer.init(weights))
    path = settings.out / _CONFIG
    if not settings.resume:
        if path.exists():
            raise BadInput(f"{settings.out} holds a run: go on with it with --resume, or choose another --out.")
        try:
            durable.make_folder(settings.out)
        except OSError as error:
            raise BadInput(f"{settings.out} cannot be made ({error.strerror}): choose another --out.") from None
        files.write_json(settings.out / SETTINGS, settings.for_a_file())
        files.write_json(path, config)
        return first
    if files.read_json(path) != json.loads(json.dumps(config)):
        raise BadInput(
            f"{settings.out} was trained with other settings, versions, recording or processor: "
            f"use those of {path} to go on."
        )
    return _load(settings.out / _CHECKPOINT, first) if (settings.out / _CHECKPOINT).exists() else first


def initial_weights(shape: Shape, seed: int) -> dict[str, np.ndarray]:
    """Variance 1 / fan-in for what feeds layers, zero for biases and outputs: the first prediction is "no change"."""
    weights = {}
    for number, (name, size) in enumerate(shape.weights().items()):
        if len(size) == 1 or name in ("head_out", "head_skip") or name.endswith(("distance", "joined", "down")):
            weights[name] = np.zeros(size, np.float32)
            continue
        uniforms = Stream(seed, Purpose.MODEL_WEIGHTS, index=number).uniforms(int(np.prod(size)))
        spread = np.sqrt(12.0 / size[0])
        weights[name] = ((uniforms - 0.5) * spread).astype(np.float32).reshape(size)
    return weights


def _save(path: Path, state: Progress) -> None:
    leaves = jax.tree_util.tree_leaves((state.weights, state.optimizer))
    files.write(
        path, {f"{number:04d}": np.asarray(leaf) for number, leaf in enumerate(leaves)}, {"update": state.update}
    )


def _load(path: Path, like: Progress) -> Progress:
    arrays, about = files.read(path)
    leaves, tree = jax.tree_util.tree_flatten((like.weights, like.optimizer))
    found = [arrays.get(f"{number:04d}") for number in range(len(leaves))]
    if len(arrays) != len(leaves) or any(
        array is None or array.shape != leaf.shape or array.dtype != leaf.dtype
        for array, leaf in zip(found, leaves, strict=True)
    ):
        raise BadInput(f"{path} is not a checkpoint of this network: start anew in another --out.")
    weights, optimizer = jax.tree_util.tree_unflatten(tree, [jnp.asarray(array) for array in found])
    return Progress(int(about["update"]), weights, optimizer)


def _model(
    settings: TrainSettings,
    shape: Shape,
    constants: Constants,
    training: Recording,
    config: dict[str, Any],
    state: Progress,
) -> Model:
    weights = {name: np.asarray(array) for name, array in state.weights.items()}
    serves, starts = pools(training)
    return Model(
        layout=training.layout,
        shape=shape,
        structure=settings.structure,
        constants=constants,
        weights=weights,
        serves=serves,
        starts=starts,
        training={**config, "updates": state.update},
    )
