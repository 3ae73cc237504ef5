"""A run's config as RLlib's: PPO, A2C, DQN, IMPALA and APPO on the new API stack.

`build(config, shapes)` gives the AlgorithmConfig; nothing starts before its `build_algo()`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gymnasium import spaces
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.multi_rl_module import MultiRLModuleSpec
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.tune.registry import register_env

from rllib_worker import fastlane, policies
from rllib_worker.a2c import A2CTorchLearner
from rllib_worker.adapter import CONFIG, ENV_NAME, FRAMES, GameEnv
from rllib_worker.config import RayWorkerConfig
from rllib_worker.env_runner import SeededEnvRunner
from rllib_worker.environments import Game
from rllib_worker.modules import ActorCriticModule, QModule, TargetActorCriticModule
from rllib_worker.networks import Spec
from rllib_worker.seeds import Address, Purpose

REPRODUCIBLE = ("PPO", "A2C", "DQN")
SAMPLE_TIMEOUT_S = 300.0  # for a busy machine; a frozen runner is found long before (frozen.py)
_DQN_FRAGMENT = 32  # steps that a runner hands over at a time, at least: whole episodes are played


@dataclass(frozen=True)
class Shape:
    """What one module sees and does."""

    spec: Spec
    action_space: spaces.Space[Any]


def shapes(config: RayWorkerConfig, game: Game) -> dict[str, Shape]:
    """The shape of each module of a run, in the order in which they are made."""
    parameters = config.training.parameters()

    def of(agent: str) -> Shape:
        space = game.action_spaces[agent]
        return Shape(Spec.of(game.layouts[agent], space, parameters), space)

    names = policies.modules(config, game.agents)
    return {name: of(name if name in game.agents else game.agents[0]) for name in names}


def build(config: RayWorkerConfig, module_shapes: dict[str, Shape], agents: list[str]) -> AlgorithmConfig:
    """RLlib's config of a run."""
    register_env(ENV_NAME, GameEnv)
    name, parameters = config.training.algorithm, config.training.parameters()
    made = _MAKERS[name](parameters)
    fragment = parameters.get("rollout_fragment_length", _DQN_FRAGMENT if name == "DQN" else "auto")
    made.api_stack(enable_rl_module_and_learner=True, enable_env_runner_and_connector_v2=True)
    made.framework("torch")
    made.environment(
        ENV_NAME,
        env_config={
            CONFIG: config.dump(),
            FRAMES: str(fastlane.path_of(config.directory)),
            "whole_episodes": name in REPRODUCIBLE,
        },
        disable_env_checking=True,
    )
    made.env_runners(
        env_runner_cls=SeededEnvRunner,
        num_env_runners=config.resources.num_workers,
        num_cpus_per_env_runner=config.resources.num_cpus,
        num_envs_per_env_runner=1,
        rollout_fragment_length=fragment,
        sample_timeout_s=SAMPLE_TIMEOUT_S,
        create_local_env_runner=True,
    )
    made.learners(num_learners=0, num_gpus_per_learner=config.resources.num_gpus)
    made.multi_agent(
        policies=set(module_shapes),
        policy_mapping_fn=_unused_mapping,
        policies_to_train=policies.learning(config, agents),
    )
    made.rl_module(rl_module_spec=_module_specs(name, parameters, module_shapes))
    made.fault_tolerance(restart_failed_env_runners=True, delay_between_env_runner_restarts_s=0.0)
    made.reporting(
        min_time_s_per_iteration=0,
        min_sample_timesteps_per_iteration=parameters.get("steps_per_iteration", 0),
        min_train_timesteps_per_iteration=0,
    )
    made.debugging(seed=Address(config.seed, 0).number(Purpose.WORKER_WEIGHTS), log_level="ERROR")
    return made


def _unused_mapping(agent: str, episode: Any, **_: Any) -> str:
    raise AssertionError("the env runner maps each episode's agents itself")


def _module_specs(name: str, parameters: dict[str, Any], module_shapes: dict[str, Shape]) -> MultiRLModuleSpec:
    return MultiRLModuleSpec(
        rl_module_specs={
            module: RLModuleSpec(
                module_class=_MODULES.get(name, ActorCriticModule),
                observation_space=shape.spec.layout.space(),
                action_space=shape.action_space,
                model_config={"spec": shape.spec.dump(), "double_q": parameters.get("double_q", False)},
            )
            for module, shape in module_shapes.items()
        }
    )


_MODULES = {"DQN": QModule, "APPO": TargetActorCriticModule}


def _common(made: AlgorithmConfig, parameters: dict[str, Any], *names: str, **fixed: Any) -> AlgorithmConfig:
    """Set parameters that have RLlib's own names, and others."""
    given = {name: parameters[name] for name in ("lr", "gamma", "grad_clip", "train_batch_size", *names)}
    given["train_batch_size_per_learner"] = given.pop("train_batch_size")
    return made.training(**given, grad_clip_by="global_norm", **fixed)


def _ppo(parameters: dict[str, Any]) -> AlgorithmConfig:
    names = ("vf_loss_coeff", "entropy_coeff", "clip_param", "vf_clip_param", "kl_coeff", "kl_target")
    return _common(
        PPOConfig(),
        parameters,
        *(*names, "num_epochs", "minibatch_size"),
        lambda_=parameters["lambda"],
        use_kl_loss=parameters["kl_coeff"] > 0,
    )


def _a2c(parameters: dict[str, Any]) -> AlgorithmConfig:
    return _common(
        PPOConfig().learners(learner_class=A2CTorchLearner),
        parameters,
        *("vf_loss_coeff", "entropy_coeff"),
        num_epochs=1,
        minibatch_size=None,
        lambda_=1.0,
        use_kl_loss=False,
    )


def _dqn(parameters: dict[str, Any]) -> AlgorithmConfig:
    buffer = {"type": "MultiAgentEpisodeReplayBuffer", "capacity": parameters["buffer_capacity"]}
    return _common(
        DQNConfig(),
        parameters,
        *("target_network_update_freq", "training_intensity", "double_q", "dueling", "n_step"),
        num_steps_sampled_before_learning_starts=parameters["learning_starts"],
        replay_buffer_config=buffer,
        epsilon=0.0,  # the worker's own: `Iteration.epsilon`
    )


def _impala(parameters: dict[str, Any]) -> AlgorithmConfig:
    clips = ("vtrace_clip_rho_threshold", "vtrace_clip_pg_rho_threshold")
    return _common(IMPALAConfig(), parameters, "vf_loss_coeff", "entropy_coeff", *clips)


def _appo(parameters: dict[str, Any]) -> AlgorithmConfig:
    return _common(
        APPOConfig(),
        parameters,
        *("vf_loss_coeff", "entropy_coeff", "clip_param", "kl_coeff", "circular_buffer_iterations_per_batch"),
        lambda_=parameters["lambda"],
        use_kl_loss=parameters["kl_coeff"] > 0,
    )


_MAKERS: dict[str, Callable[[dict[str, Any]], AlgorithmConfig]] = {
    "PPO": _ppo,
    "A2C": _a2c,
    "DQN": _dqn,
    "IMPALA": _impala,
    "APPO": _appo,
}


def epsilon(config: RayWorkerConfig, steps: int) -> float:
    """The part of random actions after so many environment steps; 0 for what explores otherwise."""
    parameters = config.training.parameters()
    if config.training.algorithm != "DQN":
        return 0.0
    start, end = parameters["initial_epsilon"], parameters["final_epsilon"]
    return float(start + (end - start) * min(1.0, steps / parameters["epsilon_timesteps"]))
