"""What does not go together is refused before anything starts, in one sentence that names the field.

`check(config)` looks at the game, and returns what `--dry-run` prints.
"""

import json
import os
from dataclasses import dataclass
from typing import Any

from gymnasium import spaces
from pydantic import ValidationError

from bitexact.cli.exits import BadInput
from rllib_worker import algorithms, catalog, policies
from rllib_worker.algorithms import Shape
from rllib_worker.config import PolicyConfiguration, RayWorkerConfig
from rllib_worker.environments import EnvironmentFactory, Game
from rllib_worker.shown_elsewhere import expect_what_is_asked_for


@dataclass(frozen=True)
class Report:
    """All that follows from a config."""

    config: RayWorkerConfig
    agents: dict[str, str]  # what each sees and does
    modules: dict[str, Shape]
    learning: list[str]
    rllib: dict[str, Any]

    def text(self) -> str:
        """The report as --dry-run prints it."""
        lines = [json.dumps(self.config.dump(), indent=2), "", f"run folder   {self.config.directory}"]
        lines += ["parameters   " + json.dumps(self.config.training.parameters())]
        lines += [f"agent        {agent}: {kind}" for agent, kind in self.agents.items()]
        for name, shape in self.modules.items():
            kind = "learns" if name in self.learning else "frozen"
            layout = shape.spec.layout
            lines.append(
                f"policy       {name} ({kind}): Box({layout.size},) -> {shape.action_space}; mask {layout.mask}, "
                f"agent {layout.agents}, own {layout.own}, everybody {layout.everybody}"
            )
        lines += [f"rllib        {name} = {value}" for name, value in self.rllib.items()]
        return "\n".join(lines)


def check(config: RayWorkerConfig) -> Report:
    """Raise BadInput for what does not go together."""
    _machine(config)
    _extras(config)
    expect_what_is_asked_for(config)
    factory = EnvironmentFactory(config.environment, policies.needs_shared_value(config))
    game = factory.make()
    _policies(config, factory, game)
    _algorithm(config, game)
    shapes = algorithms.shapes(config, game)
    rllib = algorithms.build(config, shapes, game.agents)
    rllib.validate()
    agents = {
        agent: f"sees {game.layouts[agent].size} numbers, does {game.action_spaces[agent]}" for agent in game.agents
    }
    game.close()
    return Report(config, agents, shapes, policies.learning(config, game.agents), _derived(rllib))


def _machine(config: RayWorkerConfig) -> None:
    wanted = config.resources.num_workers * config.resources.num_cpus
    there = len(os.sched_getaffinity(0))
    if wanted > there:
        raise BadInput(
            f"resources.num_workers: {config.resources.num_workers} workers of {config.resources.num_cpus} CPU need "
            f"{wanted} CPUs, and this machine has {there}: ask for fewer."
        )


def _extras(config: RayWorkerConfig) -> None:
    plays_itself = config.policy_configuration is PolicyConfiguration.SELF_PLAY
    model = policies.LeagueSettings if plays_itself else policies.NoExtras
    try:
        model.model_validate(config.extras)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise BadInput(f"extras.{field}: {config.policy_configuration}: {first['msg']}.") from None


def _policies(config: RayWorkerConfig, factory: EnvironmentFactory, game: Game) -> None:
    env_id, configuration = config.environment.env_id, config.policy_configuration
    if configuration is PolicyConfiguration.SELF_PLAY and factory.kind != catalog.COMPETITIVE:
        raise BadInput(
            f"policy_configuration: self_play needs players against one another; {env_id} is {factory.kind}."
        )
    if configuration is PolicyConfiguration.INDEPENDENT:
        return
    kinds = {
        (str(game.action_spaces[agent]), game.layouts[agent].mask, game.layouts[agent].own) for agent in game.agents
    }
    if len(kinds) > 1:
        raise BadInput(
            f"policy_configuration: {configuration} puts all agents under one policy, and those of {env_id} have "
            f"different spaces; use independent."
        )
    if configuration is not PolicyConfiguration.SHARED_VALUE_FUNCTION:
        return
    if config.training.algorithm == "DQN":
        raise BadInput("policy_configuration: shared_value_function needs a value function; DQN has none, use PPO.")
    if any(layout.picture for layout in game.layouts.values()):
        raise BadInput(
            f"policy_configuration: shared_value_function shows the critic everybody's observations, and those of "
            f"{env_id} are pictures, too large together; use parameter_sharing or independent."
        )


def _algorithm(config: RayWorkerConfig, game: Game) -> None:
    name, parameters = config.training.algorithm, config.training.parameters()
    continuous = [agent for agent in game.agents if not isinstance(game.action_spaces[agent], spaces.Discrete)]
    if name == "DQN" and continuous:
        raise BadInput(
            f"training.algorithm: DQN chooses among discrete actions, and {continuous[0]} of "
            f"{config.environment.env_id} acts continuously; use PPO."
        )
    if name == "PPO" and parameters["minibatch_size"] > parameters["train_batch_size"]:
        raise BadInput(
            f"training.algo_params.minibatch_size: {parameters['minibatch_size']} is more than the train_batch_size, "
            f"{parameters['train_batch_size']}."
        )
    fragment = parameters.get("rollout_fragment_length")
    if fragment and parameters["train_batch_size"] % fragment:
        raise BadInput(
            f"training.algo_params.train_batch_size: {parameters['train_batch_size']} is no multiple of "
            f"rollout_fragment_length, {fragment}."
        )
    if name in ("IMPALA", "APPO") and config.resources.num_workers == 0:
        raise BadInput(f"resources.num_workers: {name} samples beside the learner and needs 1 worker at least.")


def _derived(rllib: Any) -> dict[str, Any]:
    names = ["lr", "gamma", "train_batch_size_per_learner", "num_epochs", "minibatch_size", "lambda_", "clip_param"]
    names += ["rollout_fragment_length", "num_env_runners", "seed", "learner_class", "replay_buffer_config"]
    return {name: getattr(rllib, name) for name in names if getattr(rllib, name, None) is not None}
