"""Whole runs, each a process of its own: digests, resume, signals, faults, what is left behind."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import ROOT, Command, command, until
from worker_runs import finished, small_config, write

from rllib_worker.config import EnvironmentConfig
from rllib_worker.policy_evaluator import RANDOM, EvaluationConfig, Player, run_evaluation

SMALL = {
    "PPO": {"train_batch_size": 200, "minibatch_size": 64, "num_epochs": 2, "kl_coeff": 0.2, "hidden_sizes": [16]},
    "A2C": {"train_batch_size": 100, "hidden_sizes": [16]},
    "DQN": {
        "steps_per_iteration": 150,
        "learning_starts": 200,
        "target_network_update_freq": 150,
        "buffer_capacity": 300,
        "hidden_sizes": [16],
    },
}


def config(algorithm: str, run_id: str, **changes: Any) -> dict[str, Any]:
    training = {"algorithm": algorithm, "total_timesteps": 700, "algo_params": SMALL[algorithm]}
    return {**small_config(), "run_id": run_id, "training": training, **changes}


def lines(run: Path) -> list[dict[str, Any]]:
    path = run / "metrics.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def digests(run: Path) -> list[str]:
    return [line["weights_digest"] for line in lines(run)]


@contextmanager
def started(*arguments: str) -> Iterator[Command]:
    with command([sys.executable, "-m", "rllib_worker", *arguments], PYTHONPATH=str(ROOT)) as process:
        yield process


@pytest.fixture(scope="module")
def ppo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of PPO by self-play in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("ppo")
    league = {"policy_configuration": "self_play", "extras": {"league_size": 2, "win_rate": 0.1, "window_games": 10}}
    values = config("PPO", "whole", **league, checkpoint={"checkpoint_freq": 1, "export_policy": True})
    code, out, err = finished("--config", str(write(folder, values)))
    assert code == 0, err + out
    return folder / "runs" / "whole"


def test_the_same_seed_gives_the_same_digests_under_any_hash_seed_and_another_gives_others(ppo: Path) -> None:
    values = json.loads((ppo / "config.json").read_text())["worker"]
    path = write(ppo.parent.parent, {**values, "run_id": "again"})
    again = ppo.parent / "again"
    code, out, err = finished("--config", str(path), PYTHONHASHSEED="1234")
    assert code == 0, err + out
    assert digests(again) == digests(ppo)
    assert len(set(digests(ppo))) == len(digests(ppo)) >= 3
    other = ppo.parent / "other"
    code, _, err = finished("--config", str(path), "--set", "run_id=other", "--set", "seed=9")
    assert code == 0, err
    assert not set(digests(other)) & set(digests(ppo))


def test_a_run_leaves_what_a_platform_reads(ppo: Path) -> None:
    analytics = json.loads((ppo / "analytics.json").read_text())
    assert analytics["status"] == "done"
    for one in analytics["artifacts"]["checkpoints"]:
        assert (ppo / one["file"]).exists()
    assert (ppo / "policies" / "main.npz").exists()
    assert lines(ppo)[-1]["snapshots"] > 1
    seen = "".join(path.read_text() for path in (ppo / "properties").glob("*.jsonl"))
    for claim in ("No illegal action reaches a game", "A snapshot in the league never changes"):
        assert claim in seen


def test_an_evaluation_is_the_same_in_any_number_of_processes_and_without_a_cluster(ppo: Path) -> None:
    environment = EnvironmentConfig.model_validate(small_config()["environment"])
    players = (Player.parse(f"{ppo}"), RANDOM)
    found = [
        run_evaluation(EvaluationConfig(environment, players, games=40, seed=3, processes=processes))
        for processes in (1, 3)
    ]
    assert found[0] == found[1]
    assert {tuple(one.players.values()) for one in found[0].episodes} == {(str(ppo), "random"), ("random", str(ppo))}
    import ray

    assert not ray.is_initialized()


@pytest.mark.parametrize("algorithm", ["PPO", pytest.param("A2C", marks=pytest.mark.slow), "DQN"])
def test_killed_and_resumed_is_the_run_that_was_not_killed(algorithm: str, tmp_path: Path) -> None:
    whole = write(tmp_path, config(algorithm, "whole"))
    code, out, err = finished("--config", str(whole))
    assert code == 0, err + out
    killed, run = write(tmp_path, config(algorithm, "killed")), tmp_path / "runs" / "killed"
    with started("--config", str(killed)) as process:
        process.wait_for(lambda: len(lines(run)) >= 3, "three iterations")
        process.send(signal.SIGKILL)
        process.wait()
    newest = sorted((run / "checkpoints").glob("*.npz"))[-1]
    newest.write_bytes(newest.read_bytes()[:-50])  # torn: the one before it is used
    code, out, err = finished("--resume", str(run))
    assert code == 0, err + out
    assert f"{newest} is damaged" in out
    assert digests(run) == digests(tmp_path / "runs" / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_and_says_how_to_go_on(number: int, tmp_path: Path) -> None:
    values = config("PPO", "stopped", training={"algorithm": "PPO", "total_timesteps": 10**6})
    with started("--config", str(write(tmp_path, values))) as process:
        process.wait_for(lambda: "stopped" in str(list(tmp_path.glob("runs/stopped/analytics.json"))), "the start")
        process.send(number)
        assert process.wait(60.0) == 128 + number
        assert "Traceback" not in process.err
        assert "Go on with: python -m rllib_worker --resume" in process.err.splitlines()[-1]
    assert json.loads((tmp_path / "runs/stopped/analytics.json").read_text())["status"] == "ended"


def test_a_run_is_held_and_let_go(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "held"
    with started("--config", str(write(tmp_path, config("A2C", "held")))) as process:
        process.wait_for(lambda: lines(run), "an iteration")
        process.send(signal.SIGUSR1)
        process.wait_for(lambda: "paused" in process.out, "the pause")
        process.send(signal.SIGUSR2)
        assert process.wait() == 0, process.err


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=pytest.mark.slow)])
def test_a_lost_runner_is_replaced_and_no_digest_changes(number: int, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"resources": {"num_workers": 2}}
    code, out, err = finished("--config", str(write(tmp_path, config("PPO", "whole", **changes))))
    assert code == 0, err + out
    run = tmp_path / "runs" / "struck"
    with started("--config", str(write(tmp_path, config("PPO", "struck", **changes)))) as process:
        process.wait_for(lambda: len(lines(run)) >= 2, "two iterations")
        os.kill(runner_of(process), number)
        assert process.wait(280.0) == 0, process.err + process.out
        assert "was lost" in process.out
    assert digests(run) == digests(tmp_path / "runs" / "whole")


def runner_of(process: Command) -> int:
    def find() -> int | None:
        for child in psutil.Process(process.process.pid).children(recursive=True):
            if "SeededEnvRunner" in " ".join(child.cmdline()):
                return child.pid
        return None

    found: int = until(find, "an env runner's process")
    return found
