"""Nested state, as RLlib hands it out, in arrays alone and back: what a checkpoint holds, with no pickle in it.

    arrays = flatten({"learner": {"main": {"w": array}, "step": 3}})    # {"learner/main/w": ..., SKELETON: ...}
    state = restore(arrays)

Arrays are named by their path; the rest, with the order and the types of its containers, is JSON in one array of bytes.
What is neither is refused, not guessed at. Below the path `joined`, where there are a great many small arrays, those of
one kind are laid end to end in one.
"""

import json
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bitexact.determinism.arrays import Arrays

SKELETON = "skeleton"


class _Flattened:
    """What is gathered while a state is described."""

    def __init__(self, joined: tuple[str, ...] | None) -> None:
        self.arrays: Arrays = {}
        self._joined = joined
        self._rows: dict[str, list[np.ndarray]] = {}
        self._ends: dict[str, int] = {}

    def take(self, array: np.ndarray, path: tuple[str, ...]) -> dict[str, Any]:
        """Keep an array; returns where it is found."""
        if path[: len(self._joined or path)] != self._joined or not array.ndim:
            self.arrays["/".join(path)] = array
            return {"array": "/".join(path)}
        name = f"{'/'.join(self._joined)}/rows/{array.dtype.str}/{array.shape[1:]}"
        start = self._ends.get(name, 0)
        self._rows.setdefault(name, []).append(array)
        self._ends[name] = start + len(array)
        return {"rows": [name, start, start + len(array)]}

    def whole(self) -> Arrays:
        """All arrays, those that are joined as one each."""
        return self.arrays | {name: np.concatenate(rows) for name, rows in self._rows.items()}


def flatten(state: Any, joined: tuple[str, ...] | None = None) -> Arrays:
    """The arrays of a state, and its skeleton. Raises TypeError for what a checkpoint may not hold."""
    flattened = _Flattened(joined)
    skeleton = _describe(state, (), flattened)
    return flattened.whole() | {SKELETON: np.frombuffer(json.dumps(skeleton).encode(), np.uint8)}


def restore(arrays: Mapping[str, np.ndarray]) -> Any:
    """The state that `flatten` was given; tensors come back as arrays."""
    return _build(json.loads(arrays[SKELETON].tobytes()), arrays)


def _describe(value: Any, path: tuple[str, ...], flattened: _Flattened) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray) and value.dtype != object:
        return flattened.take(value, path)
    if isinstance(value, np.generic):
        return {"scalar": value.item(), "dtype": value.dtype.str}
    if isinstance(value, Mapping):
        items = [[_key(key), _describe(one, (*path, str(key)), flattened)] for key, one in value.items()]
        return {"mapping": items}
    if isinstance(value, list | tuple | deque | set | frozenset):
        ordered = sorted(value) if isinstance(value, set | frozenset) else value
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_describe(one, (*path, str(index)), flattened) for index, one in enumerate(ordered)]}
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__} (at {'/'.join(path)})")


def _key(key: Any) -> str | int:
    if type(key) not in (str, int):
        raise TypeError(f"a checkpoint cannot hold a key of {type(key).__name__}")
    return key  # type: ignore[no-any-return]


def _build(description: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(description, dict):
        return description
    ((kind, content),) = [item for item in description.items() if item[0] != "dtype"]
    match kind:
        case "array":
            return arrays[content]
        case "rows":
            name, start, end = content
            return arrays[name][start:end]
        case "scalar":
            return np.dtype(description["dtype"]).type(content)
        case "mapping":
            return {key: _build(one, arrays) for key, one in content}
        case "tuple":
            return tuple(_build(one, arrays) for one in content)
        case _:
            return [_build(one, arrays) for one in content]
