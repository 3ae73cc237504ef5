"""The schemas against RLlib's own config classes: a new Ray must not drift unseen."""

from typing import Any

import pytest
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig

from rllib_worker import algo_params, algorithms

CLASSES = {"PPO": PPOConfig, "A2C": PPOConfig, "DQN": DQNConfig, "IMPALA": IMPALAConfig, "APPO": APPOConfig}
SET = {"epsilon"}  # by the worker itself, at each iteration


def attribute(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = config[part] if isinstance(config, dict) else getattr(config, part)
    return [list(one) for one in config] if isinstance(config, list) else config


@pytest.mark.parametrize("algorithm", algo_params.ALGORITHMS)
def test_rllib_has_each_parameter_and_the_default_that_the_schema_names(algorithm: str) -> None:
    config = CLASSES[algorithm]()
    for name, about in algo_params.schema(algorithm)["properties"].items():
        if "x-rllib" in about:
            assert attribute(config, about["x-rllib"]) == about["x-rllib-default"], name


@pytest.mark.parametrize("algorithm", algo_params.ALGORITHMS)
def test_each_parameter_arrives_in_rllibs_config(algorithm: str) -> None:
    """Every number is moved off its default, and must be found where the schema says."""
    properties = algo_params.schema(algorithm)["properties"]
    given = {name: moved(about) for name, about in properties.items()}
    algo_params.check(algorithm, given)
    made = algorithms._MAKERS[algorithm](given)
    for name, about in properties.items():
        path = about.get("x-rllib")
        if path is None or path in SET or path in ("rollout_fragment_length", "min_sample_timesteps_per_iteration"):
            continue  # set by `build`
        path = "train_batch_size_per_learner" if path == "train_batch_size" else path
        assert attribute(made, path) == given[name], name


def moved(about: dict[str, Any]) -> Any:
    default = about["default"]
    if isinstance(default, bool):
        return not default
    if about["type"] == "integer":
        return default + 1
    if isinstance(default, int | float):
        return default * 0.75 if default else 0.25
    return default
