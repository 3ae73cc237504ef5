"""The same networks in JAX, for whole windows at once, with the loss: what training differentiates.

Only training imports this module. Arrays: B windows of L steps with D features; weights are a dictionary of float32.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from world_model.network import NORM_EPSILON, Shape

Weights = dict[str, Array]
_SHARP = 0.02  # errors above this share of a variable's usual change count by their size, smaller ones by their square
_ROUNDED = 0.2  # an error that rounding takes away, with room to spare, counts for nothing in a game of whole numbers


class Windows(NamedTuple):
    """What a batch is learned from."""

    features: Array  # [B, L, D]
    events: Array  # [B, L, E], of 0 and 1
    base: Array  # [B, L, P], of 0 and 1: where a change is learned apart from turns
    mask: Array  # [B, L, P], of 0 and 1: whether the change is learned at all
    change: Array  # [B, L, P], divided by its scale, less what the structure knows
    plays: Array  # [B, L], of 0 and 1: the ball is in play


def outputs(shape: Shape, w: Weights, features: Array) -> Array:
    """[B, L, O]."""
    trunk = _gru(w, features) if shape.model_type == "rnn" else _blocks(shape, w, features)
    both = jnp.concatenate([trunk, features], axis=-1)
    hidden = jax.nn.relu(both @ w["head_hidden"] + w["head_hidden_bias"])
    return hidden @ w["head_out"] + features @ w["head_skip"] + w["head_bias"]


def _gru(w: Weights, features: Array) -> Array:
    units = w["gru_memory"].shape[0]
    of_inputs = jnp.swapaxes(features @ w["gru_input"] + w["gru_bias"], 0, 1)  # [L, B, 3U]

    def step(memory: Array, of_input: Array) -> tuple[Array, Array]:
        of_memory = memory @ w["gru_memory"]
        gates = jax.nn.sigmoid(of_input[:, : 2 * units] + of_memory[:, : 2 * units])
        keep, use = gates[:, :units], gates[:, units:]
        candidate = jnp.tanh(of_input[:, 2 * units :] + use * of_memory[:, 2 * units :])
        memory = keep * memory + (1.0 - keep) * candidate
        return memory, memory

    _, memories = jax.lax.scan(step, jnp.zeros((features.shape[0], units)), of_inputs)
    return jnp.swapaxes(memories, 0, 1)


def _blocks(shape: Shape, w: Weights, features: Array) -> Array:
    batch, length, _ = features.shape
    size = shape.units // shape.heads
    place = jnp.arange(length)
    distance = place[:, None] - place[None, :]  # [L, L]
    there = (distance >= 0) & (distance < shape.window)
    x = features @ w["embed"] + w["embed_bias"]
    for block in range(shape.blocks):
        own = {name: w[f"block_{block}_{name}"] for name in ("qkv", "joined", "distance", "up", "up_bias", "down")}
        query, key, value = (
            part.reshape(batch, length, shape.heads, size) for part in jnp.split(_normed(x) @ own["qkv"], 3, axis=-1)
        )
        bias = own["distance"][jnp.clip(distance, 0, shape.window - 1)].transpose(2, 0, 1)  # [heads, L, L]
        scores = jnp.einsum("blhs,bmhs->bhlm", query, key) / jnp.sqrt(float(size)) + bias
        shares = jax.nn.softmax(jnp.where(there, scores, -jnp.inf), axis=-1)
        found = jnp.einsum("bhlm,bmhs->blhs", shares, value).reshape(batch, length, shape.units)
        x = x + found @ own["joined"]
        x = x + jax.nn.relu(_normed(x) @ own["up"] + own["up_bias"]) @ own["down"]
    return _normed(x)


def _normed(x: Array) -> Array:
    return x / jnp.sqrt((x * x).mean(axis=-1, keepdims=True) + NORM_EPSILON)


def loss(shape: Shape, structure: str, turns: int, whole: bool, w: Weights, windows: Windows) -> Array:
    """Cross-entropy of the events, while the ball is in play, and the error of the changes."""
    out = outputs(shape, w, windows.features)
    events, count = windows.events.shape[-1], windows.change.shape[-1]
    logits, change = out[..., :events], out[..., events : events + count] * windows.base
    if structure == "gate":
        for turn in range(turns):
            first = events + (turn + 1) * count
            change = change + windows.events[..., turn, None] * out[..., first : first + count]
    surprise = (jnp.logaddexp(0.0, logits) - windows.events * logits).sum(axis=-1) * windows.plays
    error = jnp.abs(change - windows.change) * windows.mask
    error = jax.nn.relu(error - _ROUNDED) if whole else error
    size = _SHARP * (jnp.sqrt(1.0 + (error / _SHARP) ** 2) - 1.0)
    return surprise.mean() + size.sum(axis=-1).mean()
