"""The schemas against RLlib's own config classes: a new Ray must not drift unseen."""

from typing import Any

import pytest
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from test_worker_a2c import episode
from worker_runs import small_config

from rllib_worker import algo_params, algorithms
from rllib_worker.config import parse
from rllib_worker.environments import EnvironmentFactory

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


def test_ppo_learns_values_that_are_far_off_by_default() -> None:
    """RLlib's own vf_clip_param, 10, lets no gradient through where a value is off by more than 3.2."""
    config = parse(small_config() | {"training": {"algorithm": "PPO", "total_timesteps": 9}}, "x")
    game = EnvironmentFactory(config.environment).make()
    shapes = algorithms.shapes(config, game)
    spaces = {name: (shape.spec.layout.space(), shape.action_space) for name, shape in shapes.items()}
    learner = algorithms.build(config, shapes, game.agents).build_learner(spaces=spaces)
    critic = learner.module["shared"].critic
    before = critic.head.out.bias.item()
    learner.update(
        episodes=[episode(shapes["shared"].spec.layout.size, 9, 0, reward=-25.0)],
        timesteps={"num_env_steps_sampled_lifetime": 0},
        num_epochs=1,
        minibatch_size=10,
    )
    assert critic.head.out.bias.item() < before
