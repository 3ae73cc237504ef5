"""The networks as they are played: NumPy, the same bits on every processor. Trained by `learned_network.py`.

Both types read features [N, D] and give outputs [N, O]; between steps they keep a memory. Weights are float32, and
computed with in float64. Products are sums row by row, and only + - * / and sqrt are asked of the processor.

rnn           a gated recurrent unit (Cho et al., 2014) of H units, then the head
transformer   blocks of causal attention over the last W steps, with a bias for each distance and head, each followed by
              two layers of ReLU; then the head. Keys and values are kept, so a step costs one step
head          [trunk, features] -> ReLU -> outputs, and features -> outputs beside it
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from bitexact.determinism.arrays import Arrays
from bitexact.determinism.exact_math import sigmoids

ModelType = Literal["rnn", "transformer"]
ModelName = Literal["rnn", "transformer", "RNNModel", "TransformerModel"]
KINDS: dict[ModelName, ModelType] = {
    "rnn": "rnn",
    "transformer": "transformer",
    "RNNModel": "rnn",
    "TransformerModel": "transformer",
}
LARGEST = 100_000  # weights
NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Shape:
    """What decides a network's shape."""

    model_type: ModelType
    inputs: int
    outputs: int
    units: int = 64
    """of the recurrent unit, or of a block"""
    head_units: int = 128
    """of the layer before the outputs"""
    blocks: int = 2
    """of a transformer"""
    heads: int = 4
    """of attention, in each block"""
    window: int = 8
    """steps that a transformer looks back, with its own"""

    def weights(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each array of weights."""
        d, u, m, o = self.inputs, self.units, self.head_units, self.outputs
        shapes: dict[str, tuple[int, ...]] = {
            "head_hidden": (u + d, m),
            "head_hidden_bias": (m,),
            "head_out": (m, o),
            "head_skip": (d, o),
            "head_bias": (o,),
        }
        if self.model_type == "rnn":
            return {"gru_input": (d, 3 * u), "gru_memory": (u, 3 * u), "gru_bias": (3 * u,), **shapes}
        shapes |= {"embed": (d, u), "embed_bias": (u,)}
        for block in range(self.blocks):
            shapes |= {
                f"block_{block}_qkv": (u, 3 * u),
                f"block_{block}_joined": (u, u),
                f"block_{block}_distance": (self.window, self.heads),
                f"block_{block}_up": (u, 2 * u),
                f"block_{block}_up_bias": (2 * u,),
                f"block_{block}_down": (2 * u, u),
            }
        return shapes

    def count(self) -> int:
        """How many weights there are."""
        return sum(int(np.prod(shape)) for shape in self.weights().values())


class Network:
    """A network of either type, laid out for many steps."""

    def __init__(self, shape: Shape, weights: Arrays) -> None:
        self.shape = shape
        self._w = {name: array.astype(np.float64) for name, array in weights.items()}
        first = self._w["gru_input" if shape.model_type == "rnn" else "embed"]
        of_trunk, of_features = np.split(self._w["head_hidden"], [shape.units])
        self._of_features = np.concatenate([first, of_features, self._w["head_skip"]], axis=1)  # one product for all
        self._of_trunk, self._ends = of_trunk, (first.shape[1], first.shape[1] + shape.head_units)
        self._step = self._gru if shape.model_type == "rnn" else self._blocks

    def initial(self, games: int) -> np.ndarray:
        """The memory before the first step: all zero, [N, ...]."""
        shape = self.shape
        if shape.model_type == "rnn":
            return np.zeros((games, shape.units))
        return np.full((games, shape.blocks, 2, shape.window, shape.units), np.nan)  # nothing there is not looked at

    def __call__(self, memory: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step: the new memory, and the outputs [N, O]."""
        first, of_features, skip = np.split(product(features, self._of_features), self._ends, axis=1)
        memory, trunk = self._step(memory, first)
        hidden = np.maximum(product(trunk, self._of_trunk) + of_features + self._w["head_hidden_bias"], 0.0)
        return memory, product(hidden, self._w["head_out"]) + skip + self._w["head_bias"]

    def _gru(self, memory: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        units = self.shape.units
        of_input = first + self._w["gru_bias"]
        of_memory = product(memory, self._w["gru_memory"])
        gates = sigmoids(of_input[:, : 2 * units] + of_memory[:, : 2 * units])
        keep, use = gates[:, :units], gates[:, units:]
        candidate = 2.0 * sigmoids(2.0 * (of_input[:, 2 * units :] + use * of_memory[:, 2 * units :])) - 1.0  # tanh
        memory = keep * memory + (1.0 - keep) * candidate
        return memory, memory

    def _blocks(self, memory: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = first + self._w["embed_bias"]
        memory = np.roll(memory, 1, axis=3)  # the newest step stands first: its place is its distance
        for block in range(self.shape.blocks):
            w = {
                name: self._w[f"block_{block}_{name}"]
                for name in ("qkv", "joined", "distance", "up", "up_bias", "down")
            }
            query, memory[:, block, 0, 0], memory[:, block, 1, 0] = np.split(product(normed(x), w["qkv"]), 3, axis=1)
            x = x + product(self._attend(query, memory[:, block], w["distance"]), w["joined"])
            x = x + product(np.maximum(product(normed(x), w["up"]) + w["up_bias"], 0.0), w["down"])
        return memory, normed(x)

    def _attend(self, query: np.ndarray, memory: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """What one step's query [N, U] finds among the keys and values [N, 2, W, U] of the window: [N, U]."""
        shape = self.shape
        games, size = len(query), shape.units // shape.heads
        keys, values = memory.reshape(games, 2, shape.window, shape.heads, size).swapaxes(0, 1)
        there = ~np.isnan(keys[:, :, :, 0])  # [N, W, heads]
        by_place = np.moveaxis(keys * query.reshape(games, 1, shape.heads, size), -1, 0)
        scores = np.add.reduce(np.ascontiguousarray(by_place), axis=0) / np.sqrt(float(size)) + distance
        scores = np.where(there, scores, -np.inf)
        shares = exponentials(scores - scores.max(axis=1, keepdims=True)) * there
        total = np.add.reduce(np.ascontiguousarray(np.moveaxis(shares, 1, 0)), axis=0)  # [N, heads]
        weighted = np.where(there, shares, 0.0)[..., None] * np.where(there[..., None], values, 0.0)
        found = np.add.reduce(np.ascontiguousarray(np.moveaxis(weighted, 1, 0)), axis=0)
        attended: np.ndarray = (found / total[..., None]).reshape(games, shape.units)
        return attended


def product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x [N, D] times w [D, O], each sum in the order of D: no BLAS, whose order depends on the processor."""
    if len(x) == 1:  # most features are 0: adding nothing changes nothing
        used = x[0].nonzero()[0]
        only: np.ndarray = np.add.reduce(x[0, used, None] * w[used], axis=0)
        return only[None]
    total: np.ndarray = x[:, :1] * w[0]
    for column in range(1, len(w)):
        total += x[:, column, None] * w[column]
    return total


def normed(x: np.ndarray) -> np.ndarray:
    """Each row divided by the root of the mean of its squares (Zhang and Sennrich, 2019)."""
    squares = np.add.accumulate(x * x, axis=1)[:, -1:]  # in order; a plain sum adds a row in pairs
    rows: np.ndarray = x / np.sqrt(squares / float(x.shape[1]) + NORM_EPSILON)
    return rows


def exponentials(values: np.ndarray) -> np.ndarray:
    """exp of values up to 0, by the kit's sigmoid: exp(z) = s / (1 - s), where nothing cancels as s is at most 1/2."""
    s = sigmoids(np.maximum(values, -700.0))
    found: np.ndarray = s / (1.0 - s)
    return found
