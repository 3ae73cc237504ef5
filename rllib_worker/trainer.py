"""RLlib's Algorithm with what makes a run of it trustworthy: streams, whole state, snapshots, runners missed.

    with Trainer(config) as trainer:
        trainer.begin(iteration=1, snapshots=1, steps=0)
        outcome = trainer.train()        # steps, episodes, losses, and the runners that did not answer

Ray must be running. Nothing here writes files or decides when an iteration is done.
"""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import ray
from ray.rllib.core import COMPONENT_METRICS_LOGGER, COMPONENT_OPTIMIZER, COMPONENT_RL_MODULE

from bitexact.cli.exits import PropertyFailed
from bitexact.determinism import digests
from bitexact.determinism.arrays import Arrays
from rllib_worker import algorithms, policies, replay_buffer, tree
from rllib_worker.config import RayWorkerConfig
from rllib_worker.env_runner import EpisodeRecord, Iteration, SeededEnvRunner
from rllib_worker.environments import EnvironmentFactory
from rllib_worker.frozen import frozen_are_killed
from rllib_worker.seeds import Address, Purpose

ANSWER_S = 30.0  # a runner that is not sampling answers within this, or is taken for lost
_FRUITLESS = 3  # rounds without a step before an iteration is given up
# What RLlib's learners have beside their states: KL coefficients, and when each target network was last copied to.
_BESIDE = ("curr_kl_coeffs_per_module", "last_update_ts_by_mid", "_last_update_ts_by_mid")


@dataclass(frozen=True)
class Outcome:
    """What an iteration gave."""

    steps: int  # environment steps
    records: list[EpisodeRecord]
    losses: dict[str, dict[str, float]]  # by module
    lost: list[int]  # runners that died or did not answer: what was learned without them does not count


class Trainer:
    """An Algorithm in this process, with its env runners."""

    def __init__(self, config: RayWorkerConfig) -> None:
        self._config = config
        self.game = EnvironmentFactory(config.environment, policies.needs_shared_value(config)).make()
        self.shapes = algorithms.shapes(config, self.game)
        self._rllib = algorithms.build(config, self.shapes, self.game.agents)
        self._algorithm: Any = self._rllib.build_algo()
        self._lost: list[int] = []
        self._processes: set[int] = set()  # the runners'
        self._iteration = 0

    def __enter__(self) -> "Trainer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._algorithm.stop()
        self.game.close()

    @property
    def _learner(self) -> Any:
        return self._algorithm.learner_group._learner

    def begin(self, iteration: int, snapshots: int, steps: int) -> None:
        """Set all streams: in runners, learner and replay buffer."""
        self._iteration = iteration
        begun = Iteration(iteration, snapshots, algorithms.epsilon(self._config, steps))
        self._processes = set(self._ask(functools.partial(SeededEnvRunner.begin, iteration=begun))) - {os.getpid()}
        address = Address(self._config.seed, iteration)
        address.seed_generators(Purpose.LEARNER)
        if hasattr(self._algorithm, "local_replay_buffer") and self._algorithm.local_replay_buffer is not None:
            self._algorithm.local_replay_buffer.rng = np.random.default_rng(address.number(Purpose.BUFFER))

    def train(self) -> Outcome:
        """One iteration: rounds of RLlib's until enough steps were sampled, or a runner is missed."""
        before = self.steps()
        with frozen_are_killed(self._processes):
            result = self._rounds(before)
        records = [record for answer in self._ask(SeededEnvRunner.records) for record in answer]
        steps = self.steps() - before
        if self._config.training.algorithm in algorithms.REPRODUCIBLE and steps != sum(one.length for one in records):
            self._lost.append(0)  # a sample came after RLlib's time limit, and is in nobody's batch
        return Outcome(
            steps=steps,
            records=sorted(records, key=lambda one: (one.iteration, one.runner, one.episode)),
            losses=_losses(result.get("learners", {})),
            lost=sorted(set(self._lost)),
        )

    def _rounds(self, before: int) -> dict[str, Any]:
        """Rounds of RLlib's; the results of the last."""
        wanted = self._config.training.parameters().get("steps_per_iteration", 1)
        fruitless, result = 0, {}
        while not self._lost and self.steps() - before < wanted:
            reached = self.steps()
            result = self._algorithm.train()
            self._lost += self._died()
            fruitless = fruitless + 1 if self.steps() == reached else 0
            if fruitless == _FRUITLESS and not self._lost:
                raise PropertyFailed(
                    f"iteration {self._iteration} samples nothing: RLlib's train() came back {_FRUITLESS} times "
                    f"without a step; give the run more CPUs or workers"
                )
        return result

    def steps(self) -> int:
        """Environment steps sampled since the run began."""
        lifetime = ("env_runners", "num_env_steps_sampled_lifetime")
        return int(self._algorithm.metrics.peek(lifetime, default=0))

    def state(self, buffer: bool = True) -> dict[str, Any]:
        """All that the next iteration depends on; the replay buffer may be left out."""
        learner = self._learner.get_state()
        state: dict[str, Any] = {
            "modules": learner[COMPONENT_RL_MODULE],
            "optimizers": learner[COMPONENT_OPTIMIZER],
            "learner_metrics": learner[COMPONENT_METRICS_LOGGER],
            "metrics": self._algorithm.metrics.get_state(),
            "extra": {name: _numbers(getattr(self._learner, name)) for name in self._extras()},
        }
        if buffer and self._config.training.algorithm == "DQN":
            state["buffer"] = replay_buffer.dump(self._algorithm.local_replay_buffer)
        return state

    def restore(self, state: dict[str, Any]) -> None:
        """Put a state that `state` gave into learner, buffer and runners. The trainer must be new."""
        self._learner.set_state(
            {
                COMPONENT_RL_MODULE: state["modules"],
                COMPONENT_OPTIMIZER: state["optimizers"],
                COMPONENT_METRICS_LOGGER: state["learner_metrics"],
            }
        )
        self._algorithm.metrics.set_state(state["metrics"])
        for name in self._extras():
            _put(getattr(self._learner, name), state["extra"][name])
        if "buffer" in state:
            spaces = {agent: layout.space() for agent, layout in self.game.layouts.items()}
            buffer = self._algorithm.local_replay_buffer
            replay_buffer.load(buffer, state["buffer"], spaces, self.game.action_spaces)
        self.send_weights()

    def send_weights(self) -> None:
        """Give the learner's weights to all runners, and wait until they have them."""
        self._algorithm.env_runner_group.sync_weights(
            from_worker_or_learner_group=self._algorithm.learner_group, inference_only=True, timeout_seconds=ANSWER_S
        )

    def copy_module(self, source: str, target: str) -> None:
        """Put one module's weights into another, at the learner and at every runner."""
        modules = self._learner.module
        modules[target].set_state(modules[source].get_state())
        self.send_weights()

    def module_digests(self) -> dict[str, list[str]]:
        """Each module's policy, as the learner has it and then as each runner has it."""
        names = list(self.shapes)
        own = {name: _digest(self._learner.module[name].get_state(inference_only=True)) for name in names}
        runners = self._ask(_runner_digests)
        return {name: [own[name], *(answer[name] for answer in runners)] for name in names}

    def _extras(self) -> list[str]:
        return [name for name in _BESIDE if hasattr(self._learner, name)]

    def _ask(self, what: Callable[[Any], Any]) -> list[Any]:
        """The runners' answers, in their order; those that do not answer in time are killed, and noted as lost."""
        group = self._algorithm.env_runner_group
        answers: list[Any] = group.foreach_env_runner(what, local_env_runner=True, timeout_seconds=ANSWER_S)
        missing = self._config.resources.num_workers - (len(answers) - 1)
        if missing:
            self._lost += self._kill_the_silent()
        return answers

    def _kill_the_silent(self) -> list[int]:
        manager = self._algorithm.env_runner_group._worker_manager
        pings = {number: actor.ping.remote() for number, actor in manager.actors().items()}
        _, late = ray.wait(list(pings.values()), num_returns=len(pings), timeout=ANSWER_S / 3)
        silent = [number for number, ping in pings.items() if ping in late or not _succeeded(ping)]
        for number in silent:
            ray.kill(manager.actors()[number])
        return silent or [0]

    def _died(self) -> list[int]:
        manager = self._algorithm.env_runner_group._worker_manager
        restarts = self._algorithm.env_runner_group.num_remote_worker_restarts()
        dead = [number for number in manager.actors() if number not in manager.healthy_actor_ids()]
        return dead or ([0] if restarts else [])


def _succeeded(ping: Any) -> bool:
    try:
        ray.get(ping, timeout=ANSWER_S)
    except ray.exceptions.RayError:
        return False
    return True


def _runner_digests(runner: Any) -> dict[str, str]:
    return {name: _digest(module.get_state(inference_only=True)) for name, module in runner.module.items()}


def _digest(arrays: Arrays) -> str:
    return digests.digest({name: np.asarray(array) for name, array in arrays.items()})


def weights(state: dict[str, Any]) -> Arrays:
    """All weights and optimizer states in a state: what an iteration's digest is of."""
    return tree.flatten({"modules": state["modules"], "optimizers": state["optimizers"]})


def _losses(learners: dict[str, Any]) -> dict[str, dict[str, float]]:
    wanted = ("policy_loss", "vf_loss", "entropy", "qf_loss", "total_loss", "mean_kl_loss")
    return {
        module: {name: float(values[name]) for name in wanted if name in values}
        for module, values in learners.items()
        if module != "__all_modules__" and isinstance(values, dict)
    }


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


def _put(values: dict[str, Any], numbers: dict[str, float]) -> None:
    for name, number in numbers.items():
        current = values[name]
        if hasattr(current, "data"):
            current.data.fill_(number)
        else:
            values[name] = number
