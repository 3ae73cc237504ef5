"""analytics.json: what a platform reads of a run: config, versions, artifacts, units of metrics, how it ended.

Written at the start, at each checkpoint and at the end, so that a killed run has one too: its status is "running".
"""

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

from bitexact.storage import durable
from rllib_worker.config import RayWorkerConfig

ANALYTICS = "analytics.json"
PACKAGES = ("ray", "torch", "numpy", "gymnasium", "pettingzoo", "mpe2", "ale-py", "pydantic")
FOLDERS = ("checkpoints", "logs", "videos", "tensorboard")  # named where they are there
UNITS = {
    "steps": "environment steps",
    "steps_total": "environment steps",
    "rollouts": "episodes",
    "reward_mean": "reward an episode, mean over the agents that learn",
    "reward_mean_100": "the same, of the last 100 episodes",
    "episode_length_mean": "environment steps",
    "steps_per_s": "environment steps a second",
    "iteration_time_s": "s",
    "wall_time_s": "s",
}


def versions() -> dict[str, str]:
    """The packages that decide a run's digests, and Python."""
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}


class Analytics:
    """One run's analytics.json."""

    def __init__(self, config: RayWorkerConfig, directory: Path) -> None:
        self._directory = directory
        self._content: dict[str, Any] = {
            "run_id": config.run_id,
            "worker": "ray",
            "config": config.dump(),
            "versions": versions(),
            "artifacts": {"folders": {}, "metrics": "metrics.jsonl", "checkpoints": []},
            "metric_units": UNITS,
            "steps": 0,
        }

    def checkpoint(self, iteration: int, path: Path, steps: int, digest: str) -> None:
        """A checkpoint was written."""
        self._content["steps"] = steps
        known = self._content["artifacts"]["checkpoints"]
        known.append({"iteration": iteration, "file": str(path.relative_to(self._directory)), "digest": digest})
        kept = [one for one in known if (self._directory / one["file"]).exists()]
        self._content["artifacts"]["checkpoints"] = kept
        self.write("running")

    def artifact(self, name: str, path: Path) -> None:
        """A file that the run leaves behind."""
        sha = hashlib.sha256(path.read_bytes()).hexdigest()
        self._content["artifacts"][name] = {"file": str(path.relative_to(self._directory)), "sha256": sha}

    def write(self, status: str, reason: str = "") -> None:
        """Replace the file. `status` is running, done or ended; `reason` the sentence it ended with."""
        there = {name: f"{name}/" for name in FOLDERS if (self._directory / name).is_dir()}
        self._content["artifacts"]["folders"] = there
        content = {**self._content, "status": status, "reason": reason}
        durable.write_atomically(self._directory / ANALYTICS, json.dumps(content, indent=2).encode() + b"\n")
