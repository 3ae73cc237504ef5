"""One update: a batch of rollouts taken in, and what is learned from it. The driver, replay and tests share it.

state, batch = compute_update(settings, state, game)      # on this process alone
summarize(batch, earlier_rewards=[])                      # what metrics.jsonl says of it
"""

import math
from typing import Any

import numpy as np

from bitexact.determinism.digests import fingerprint
from bitexact.storage.state import State
from pong.play import Game
from training.batch import Batch, is_compared
from training.ppo_batch import PPOBatch
from training.reinforce_batch import Reducer, ReinforceBatch, RemoteSumBatch
from training.rollout_task import task_of
from training.settings import REINFORCE, Settings


def new_batch(settings: Settings, state: State, reducer: Reducer | None = None) -> Batch:
    """An empty batch for the update after a state. With a reducer, gradients are added there where that is possible."""
    task = task_of(settings)
    if settings.preset != REINFORCE:
        return PPOBatch(settings, state, task)
    if reducer and not is_compared(state.update + 1):  # the float64 sum needs each gradient, here
        name = fingerprint({"seed and update": np.array([settings.seed, state.update + 1])})
        drawn = int(name[:8], 16)  # it decides no bit of the result
        remote_sum = reducer.begin(state.update + 1, settings.batch_size, like=state.weights, drawn=drawn)
        if remote_sum:
            return RemoteSumBatch(settings, state, task, remote_sum)
    return ReinforceBatch(settings, state, task)


def compute_update(settings: Settings, state: State, game: Game) -> tuple[State, Batch]:
    """One update on this process, one rollout after the other: the bits that any number of actors come to."""
    batch = new_batch(settings, state)
    for rollout_id in batch.missing():
        batch.add(*batch.task.run(game, state.weights, rollout_id))
    return batch.learn(), batch


def summarize(batch: Batch, earlier_rewards: list[int]) -> dict[str, Any]:
    """What metrics.jsonl says of a batch. `earlier_rewards` are those of the rollouts before it, newest last."""
    records = batch.records
    rewards = [record.reward for record in records]
    last_100 = (earlier_rewards + rewards)[-100:]
    return {
        "update": batch.update,
        "rollouts": len(records),
        "steps": sum(record.steps for record in records),
        "reward_mean": math.fsum(rewards) / len(rewards),
        "reward_min": min(rewards),
        "reward_max": max(rewards),
        "reward_mean_100": math.fsum(last_100) / len(last_100),
        "loss": math.fsum(record.loss for record in records) / len(records),
        "gradient_norm": batch.gradient_norm,
        "points_won": sum(record.points_won for record in records),
        "points_lost": sum(record.points_lost for record in records),
    }
