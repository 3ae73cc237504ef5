"""What the driver keeps of a rollout beside what is learned from: its line in rollouts.jsonl, numbers and digests.

A record is made where the rollout was played, once all that must hold of any rollout was found to hold.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

import invariants
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprint, fingerprints
from pong.play import RolloutId, Trajectory


@dataclass(frozen=True)
class RolloutRecord:
    """One rollout in numbers; the names of its fields are the keys of its line."""

    update: int
    index: int
    reward: int
    steps: int
    points_won: int
    points_lost: int
    loss: float  # -sum over t of advantage_t log p(action_t); a statistic, not on the way to the weights
    weights: str  # fingerprint of the weights it was played with
    digest: str  # fingerprint of its actions, its rewards, and what is learned from
    arrays: dict[str, str]  # the same, array by array: names what differs
    seal: str = ""  # fingerprint of all of the above, made with the record; not in its line, which is a ledger's

    def __post_init__(self) -> None:
        """Seal it, once: a copy that was sent keeps its seal."""
        if not self.seal:
            object.__setattr__(self, "seal", self._sealed())

    def line(self) -> dict[str, Any]:
        """What rollouts.jsonl says of it."""
        return {name: value for name, value in vars(self).items() if name != "seal"}

    def _sealed(self) -> str:
        text = json.dumps(self.line(), sort_keys=True).encode()
        return fingerprint({"line": np.frombuffer(text, np.uint8)})

    def mismatch(self, result: Any) -> str:
        """What of a result, a gradient or a game's steps, is not as it was named here; empty if nothing is.

        Also what of this record is not as it was made; of None, for a result that is elsewhere, that alone.
        """
        if self.seal != self._sealed():
            return "its record"
        if result is None:
            return ""
        arrays = result if isinstance(result, dict) else result.arrays()
        missing = self.arrays.keys() - arrays.keys() - {"actions", "rewards"}  # those are seen by the digest alone
        differ = [name for name, named in fingerprints(arrays).items() if named != self.arrays.get(name)]
        names = sorted({*missing, *differ})
        return ", ".join(names) or ("" if combine_fingerprints(self.arrays) == self.digest else "its digest")


def record_rollout(
    rollout_id: RolloutId, weights: Arrays, trajectory: Trajectory, advantages: np.ndarray, learned_from: Arrays
) -> RolloutRecord:
    """The record of a rollout of T steps: `advantages` are float64 [T], `learned_from` what it sends to the update.

    Raises PropertyFailed where something does not hold that holds of any rollout.
    """
    rewards, ups, probabilities = trajectory.rewards, trajectory.ups, trajectory.probabilities
    of_action = np.where(ups, probabilities, 1.0 - probabilities)
    arrays = {"actions": ups, "rewards": rewards} | learned_from
    named = fingerprints(arrays)
    record = RolloutRecord(
        update=rollout_id.update,
        index=rollout_id.index,
        reward=int(rewards.sum()),
        steps=len(rewards),
        points_won=int((rewards > 0).sum()),
        points_lost=int((rewards < 0).sum()),
        loss=-math.fsum((advantages * np.log(of_action)).tolist()),
        weights=fingerprint(weights),
        digest=combine_fingerprints(named),
        arrays=named,
    )
    _check(trajectory, record, rollout_id.details)
    return record


def combine_fingerprints(named: dict[str, str]) -> str:
    """One fingerprint of several named ones."""
    return fingerprint({name: np.frombuffer(bytes.fromhex(value), np.uint8) for name, value in named.items()})


def _check(trajectory: Trajectory, record: RolloutRecord, where: dict[str, int]) -> None:
    invariants.a_step_wins_or_loses_one_point_at_most(trajectory.rewards, where)
    invariants.a_probability_lies_within_0_and_1(trajectory.probabilities, where)
    invariants.a_reward_lies_within_21_points(record.reward, where)
    if not trajectory.truncated:
        invariants.a_game_played_out_has_a_side_at_21(record.points_won, record.points_lost, where)
    invariants.a_point_is_won(record.points_won, where)
