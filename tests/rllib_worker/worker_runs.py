"""The worker as a user runs it, a small config to run, and what may befall a run."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from commands import ROOT, Command, command, until

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

LEAGUE = {"policy_configuration": "self_play", "extras": {"league_size": 2, "win_rate": 0.1, "window_games": 10}}


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


def lines(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def digests(run: Path) -> list[str]:
    return [line["weights_digest"] for line in lines(run)]


@contextmanager
def started(*arguments: str, **environment: str) -> Iterator[Command]:
    words = [sys.executable, "-m", "rllib_worker", *arguments]
    with command(words, PYTHONPATH=str(ROOT), **environment) as process:
        yield process


def runner_of(process: Command) -> int:
    def find() -> int | None:
        for child in psutil.Process(process.process.pid).children(recursive=True):
            if "SeededEnvRunner" in " ".join(child.cmdline()):
                return child.pid
        return None

    found: int = until(find, "an env runner's process")
    return found


@contextmanager
def disk_of_20_mb(folder: Path) -> Iterator[Path | None]:
    """A file system of its own, in a folder; none where mounting is not permitted."""
    disk = folder / "small_disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(ballast: Path) -> None:
    """Fill a disk up with a file."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
