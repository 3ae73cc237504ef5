"""Hyperparameters, from one versioned JSON Schema an algorithm: schemas/ppo.v1.json and so on.

Validation, the command `schema` and a form can be made from it. Each property has a type, a range, a default and one
line of help; "x-rllib" names the attribute of RLlib's config that it sets. A test holds the files against RLlib's own
config classes, so that another Ray cannot drift unseen.
"""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

ALGORITHMS = ("PPO", "A2C", "DQN", "IMPALA", "APPO")
_FOLDER = Path(__file__).parent / "schemas"
_VERSION = 1


@functools.cache
def schema(algorithm: str) -> dict[str, Any]:
    """The JSON Schema of an algorithm's parameters."""
    document: dict[str, Any] = json.loads((_FOLDER / f"{algorithm.lower()}.v{_VERSION}.json").read_text())
    return document


def defaults(algorithm: str) -> dict[str, Any]:
    """The value of each parameter that is not given."""
    return {name: about["default"] for name, about in schema(algorithm)["properties"].items()}


def check(algorithm: str, parameters: dict[str, Any]) -> None:
    """Raise ValueError, naming the parameter, unless all are known and in range."""
    known = schema(algorithm)["properties"]
    for name in parameters:
        if name not in known:
            raise ValueError(
                f"algo_params.{name}: {algorithm} has no such parameter; it has {', '.join(sorted(known))}"
            )
    for error in jsonschema.Draft202012Validator(schema(algorithm)).iter_errors(parameters):
        raise ValueError(f"algo_params.{'.'.join(map(str, error.absolute_path))}: {error.message}")
