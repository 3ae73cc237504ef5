"""The worker as a user runs it, and a small config to run."""

import json
import sys
from pathlib import Path
from typing import Any

from commands import ROOT, command

TICTACTOE = {
    "run_id": "t",
    "environment": {"family": "classic", "env_id": "tictactoe_v3", "api_type": "aec"},
    "policy_configuration": "parameter_sharing",
    "training": {
        "algorithm": "PPO",
        "total_timesteps": 600,
        "algo_params": {"train_batch_size": 200, "minibatch_size": 64, "num_epochs": 2, "hidden_sizes": [16]},
    },
    "resources": {"num_workers": 1},
    "checkpoint": {"checkpoint_freq": 2},
}


def small_config() -> dict[str, Any]:
    """A config to be changed: some hundred steps of tic-tac-toe."""
    copy: dict[str, Any] = json.loads(json.dumps(TICTACTOE))
    return copy


def write(folder: Path, values: dict[str, Any]) -> Path:
    """A config file in a folder, whose runs stay there too."""
    path = folder / f"{values['run_id']}.json"
    path.write_text(json.dumps({**values, "output_dir": str(folder / "runs")}))
    return path


def finished(*arguments: str, limit_s: float = 280.0, **environment: str) -> tuple[int, str, str]:
    """`python -m rllib_worker` to its end: exit code, standard output, standard error."""
    with command([sys.executable, "-m", "rllib_worker", *arguments], PYTHONPATH=str(ROOT), **environment) as started:
        code = started.wait(limit_s)
        return code, started.out, started.err
