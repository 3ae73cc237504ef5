"""Whole runs, each a process of its own: digests, resume, signals, faults, what is left behind."""

import functools
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imageio.v2 as imageio
import numpy as np
import pytest
from commands import until
from worker_runs import LEAGUE, digests, disk_of_20_mb, fill, finished, lines, runner_of, small_config, started, write

from rllib_worker import fastlane
from rllib_worker.config import EnvironmentConfig
from rllib_worker.fastlane import Reader
from rllib_worker.policy_evaluator import RANDOM, EvaluationConfig, Player, film_game, run_evaluation

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

STEPS = {"PPO": 700, "A2C": 400, "DQN": 500}
WORKERS = {"PPO": 1, "A2C": 0, "DQN": 1}  # without one the driver plays, and a run starts sooner


def config(algorithm: str, run_id: str, **changes: Any) -> dict[str, Any]:
    training = {"algorithm": algorithm, "total_timesteps": STEPS[algorithm], "algo_params": SMALL[algorithm]}
    resources = {"num_workers": WORKERS[algorithm]}
    return {**small_config(), "run_id": run_id, "training": training, "resources": resources, **changes}


@pytest.fixture(scope="module")
def ppo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of PPO by self-play in which nothing goes wrong."""
    folder = tmp_path_factory.mktemp("ppo")
    values = config("PPO", "whole", **LEAGUE, checkpoint={"checkpoint_freq": 1, "export_policy": True})
    code, out, err = finished("--config", str(write(folder, values)))
    assert code == 0, err + out
    return folder / "runs" / "whole"


def test_digests_are_the_same_watched_held_and_under_another_hash_seed(ppo: Path) -> None:
    values = {**LEAGUE, "checkpoint": {"checkpoint_freq": 1}, "fastlane_enabled": True}
    path, run = write(ppo.parent.parent, config("PPO", "again", **values)), ppo.parent / "again"
    with started("--config", str(path), PYTHONHASHSEED="1234") as process:
        process.wait_for(fastlane.path_of(run).exists, "the segment")
        reader = Reader(fastlane.path_of(run))
        frame = process.wait_for(reader.newest, "a frame")
        process.send(signal.SIGUSR1)
        process.wait_for(lambda: reader.newest() or "paused" in process.out, "the pause")
        process.wait_for(lambda: "paused" in process.out, "the pause")
        process.send(signal.SIGUSR2)
        assert process.wait() == 0, process.err
    assert len(np.unique(frame.pixels.reshape(-1, 3), axis=0)) > 1
    assert reader.is_over()
    assert not fastlane.path_of(run).exists()
    assert digests(run) == digests(ppo)
    assert len(set(digests(ppo))) == len(digests(ppo)) >= 3


def test_a_run_leaves_what_a_platform_reads(ppo: Path) -> None:
    analytics = json.loads((ppo / "analytics.json").read_text())
    assert analytics["status"] == "done"
    for one in analytics["artifacts"]["checkpoints"]:
        assert (ppo / one["file"]).exists()
    assert (ppo / "policies" / "main.npz").exists()
    assert analytics["artifacts"]["folders"] == {"checkpoints": "checkpoints/", "logs": "logs/"}
    log = (ppo / "logs" / "worker.log").read_text().splitlines()
    assert [line["weights_digest"][:12] for line in lines(ppo)] == [
        line[-12:] for line in log if " iteration " in line and "digest" in line
    ]
    assert all(any(folder.iterdir()) for folder in ppo.iterdir() if folder.is_dir())
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
    film = ppo / "videos" / "evaluation.mp4"
    film_game(EvaluationConfig(environment, players, seed=3), 0, film)
    assert sum(1 for _ in imageio.get_reader(film)) == found[0].episodes[0].length + 1
    import ray

    assert not ray.is_initialized()


def test_the_curve_of_a_run_is_drawn(ppo: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curve.svg"
    code, out, err = finished("curves", str(ppo), "--out", str(picture))
    assert code == 0, err
    assert out.splitlines()[-1].startswith("| tictactoe_v3, self play, PPO | 1 | ")
    assert f"{lines(ppo)[-1]['reward_mean_100']:.2f} | " in out
    assert "mean return of the last 100 episodes" in picture.read_text()


Whole = Callable[[str], Path]


@pytest.fixture(scope="module")
def whole(ppo: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A run of each algorithm in which nothing goes wrong, made once."""

    @functools.cache
    def make(algorithm: str) -> Path:
        if algorithm == "PPO":
            return ppo
        folder = tmp_path_factory.mktemp(algorithm)
        code, out, err = finished("--config", str(write(folder, config(algorithm, "whole"))))
        assert code == 0, err + out
        return folder / "runs" / "whole"

    return make


def killed_after(part: float, whole: Path, folder: Path) -> Path:
    """The same run again, killed when a part of its time has gone by; its newest checkpoint is torn, if it has one."""
    values = json.loads((whole / "config.json").read_text())["worker"]
    run = folder / "runs" / "killed"
    with started("--config", str(write(folder, {**values, "run_id": "killed"}))) as process:
        process.wait_for((run / "analytics.json").exists, "the start")
        began = time.monotonic()
        seconds = part * (lines(whole)[-1]["wall_time_s"] + 1.0)
        until(lambda: time.monotonic() - began > seconds or process.process.poll() is not None, "the instant")
        process.send(signal.SIGKILL)
        process.wait()
    for newest in sorted((run / "checkpoints").glob("*.npz"))[-1:]:
        newest.write_bytes(newest.read_bytes()[:-50])
    return run


def resumed_is_whole(part: float, whole: Path, folder: Path) -> None:
    run = killed_after(part, whole, folder)
    torn = list((run / "checkpoints").glob("*.npz"))
    code, out, err = finished("--resume", str(run))
    assert code == 0, err + out
    assert ("is damaged" in out) == bool(torn)
    assert digests(run) == digests(whole), f"killed after {part} of its time, {len(torn)} checkpoints"


@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "DQN"])
def test_killed_at_a_drawn_instant_and_resumed_is_the_run_that_was_not_killed(
    algorithm: str, whole: Whole, tmp_path: Path
) -> None:
    resumed_is_whole(random.SystemRandom().random(), whole(algorithm), tmp_path)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.parametrize("algorithm", ["PPO", "A2C", "DQN"])
@pytest.mark.parametrize("number", range(20))
def test_twenty_drawn_instants(number: int, algorithm: str, whole: Whole, tmp_path: Path) -> None:
    resumed_is_whole(random.Random(f"{algorithm} {number}").random(), whole(algorithm), tmp_path)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_ends_a_run_and_says_how_to_go_on(number: int, ppo: Path, tmp_path: Path) -> None:
    training = {"algorithm": "PPO", "total_timesteps": 10**6, "algo_params": SMALL["PPO"]}
    values = config("PPO", "stopped", **LEAGUE, training=training, seed=9)
    run = tmp_path / "runs" / "stopped"
    with started("--config", str(write(tmp_path, values))) as process:
        process.wait_for(lambda: lines(run), "an iteration")
        process.send(number)
        assert process.wait(60.0) == 128 + number
        assert "Traceback" not in process.err
        assert "Go on with: python -m rllib_worker --resume" in process.err.splitlines()[-1]
    assert json.loads((run / "analytics.json").read_text())["status"] == "ended"
    assert not set(digests(run)) & set(digests(ppo))  # of another seed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    with disk_of_20_mb(tmp_path) as disk:
        if disk is None:
            pytest.skip("mounting a file system is not permitted here")
        yield disk


def test_a_full_disk_ends_a_run_and_with_room_again_it_goes_on_to_the_same_end(ppo: Path, small_disk: Path) -> None:
    values = {**LEAGUE, "checkpoint": {"checkpoint_freq": 1}}
    path, run, ballast = write(small_disk, config("PPO", "full", **values)), small_disk / "runs/full", small_disk / "b"
    with started("--config", str(path)) as process:
        process.wait_for(lambda: lines(run), "an iteration")
        fill(ballast)
        assert process.wait() == 4, process.err + process.out
        assert "No space left on device" in process.err.splitlines()[-1]
        assert "Traceback" not in process.err
    ballast.unlink()
    assert digests(run) == digests(ppo)[: len(lines(run))]
    code, out, err = finished("--resume", str(run))
    assert code == 0, err + out
    assert digests(run) == digests(ppo)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_and_a_frozen_runner_are_replaced_and_no_digest_changes(
    workers: int, ppo: Path, tmp_path: Path
) -> None:
    values = {**LEAGUE, "checkpoint": {"checkpoint_freq": 1}, "resources": {"num_workers": workers}}
    undisturbed, run = ppo, tmp_path / "runs" / "struck"
    if workers > 1:
        code, out, err = finished("--config", str(write(tmp_path, config("PPO", "whole", **values))))
        assert code == 0, err + out
        undisturbed = tmp_path / "runs" / "whole"
    with started("--config", str(write(tmp_path, config("PPO", "struck", **values)))) as process:
        for times, number in enumerate((signal.SIGKILL, signal.SIGSTOP), 1):
            process.wait_for(lambda times=times: len(lines(run)) >= times, "an iteration")
            os.kill(runner_of(process), number)
            process.wait_for(lambda times=times: process.out.count("was lost") == times, "the loss")
        assert process.wait(280.0) == 0, process.err + process.out
    assert digests(run) == digests(undisturbed)
