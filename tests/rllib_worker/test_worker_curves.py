"""`curves`: its curve is the ledger's, its table is medians by hand, and what is missing is said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from worker_runs import small_config

from bitexact.cli.exits import BadInput
from rllib_worker import cli, curves
from rllib_worker.curves import Curve


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What `curves` reads of a run: its config and three iterations."""
    return made(tmp_path / "run")


def made(run: Path, rewards: tuple[float, ...] = (0.0, 0.5, 1.0), **changes: Any) -> Path:
    run.mkdir()
    config = {"worker": {**small_config(), **changes}, "worker_versions": {"ray": "0.1"}}
    beside = {"versions": {}, "python": "3", "initial_digest": "0" * 64}
    (run / "config.json").write_text(json.dumps(config | beside))
    ledger = [
        {
            "update": number,
            "weights_digest": "0" * 64,
            "steps_total": 100 * number,
            "reward_mean_100": reward,
            "steps_per_s": 50.0,
        }
        for number, reward in enumerate(rewards, 1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ledger))
    return run


def test_its_curve_is_the_ledgers(run: Path) -> None:
    found = curves.read(run)
    assert found.steps.tolist() == [100, 200, 300]
    assert found.returns.tolist() == [0.0, 0.5, 1.0]


def test_seeds_become_one_curve_and_other_settings_another(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = made(tmp_path / "seed", (0.0, 0.0, 3.0), seed=5, tensorboard=True, output_dir="elsewhere")
    other = made(tmp_path / "other", policy_configuration="independent")
    rates = [
        made(tmp_path / f"{rate}", training={"algorithm": "PPO", "total_timesteps": 1, "algo_params": {"lr": rate}})
        for rate in (0.1, 0.2)
    ]
    picture = tmp_path / "curves.png"
    cli.main(["curves", *map(str, (run, seed, other)), f"--out={picture}"])
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in printed[2:]] == [
        "| tictactoe_v3, parameter sharing, PPO",
        "| tictactoe_v3, independent, PPO",
    ]
    assert printed[2].split(" | ")[1:] == ["2", "-", "0.12 (0.00 to 0.25)", "2.00 (1.00 to 3.00)", "50 |"]
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(1 << 20) or []) > 20, "something was drawn"
    cli.main(["curves", *map(str, rates), f"--out={picture}"])
    assert [line.split(" | ")[0][-6:] for line in capsys.readouterr().out.splitlines()[2:]] == ["lr 0.1", "lr 0.2"]


def test_the_table_compares_at_steps_that_all_runs_have() -> None:
    steady = Curve(np.array([0.0, 400.0]), np.array([0.0, 4.0]), np.array([10.0, 30.0]))
    longer = Curve(np.array([0.0, 800.0]), np.array([8.0, 0.0]), np.array([5.0, 5.0]))
    header, _, a, b = curves.table({"a": [steady], "b": [longer]}).splitlines()
    assert header == (
        "| | seeds | return after 100 steps | return after 200 steps | return after 400 steps | steps a second |"
    )
    assert a == "| a | 1 | 1.00 | 2.00 | 4.00 | 20 |"
    assert b == "| b | 1 | 7.00 | 6.00 | 4.00 | 5 |"


def without_a_number(run: Path) -> Path:
    line = {"update": 1, "weights_digest": "0" * 64, "steps_total": 100, "steps_per_s": 1.0}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    return run


def without_iterations(run: Path) -> Path:
    (run / "metrics.jsonl").write_text("")
    return run


def of_another_system(run: Path) -> Path:
    (run / "config.json").write_text('{"versions": {}, "python": "3", "initial_digest": "' + "0" * 64 + '"}')
    return run


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda run: [f"{run}/no", "--out=a.png"], "holds no run"),
        (lambda run: ["--out=a.png"], "name their folders"),
        (lambda run: [str(run), "--out=a.gif"], "not a.gif"),
        (lambda run: [str(run), f"--out={run}/no/a.png"], "a folder that is there"),
        (lambda run: [str(without_a_number(run)), "--out=a.png"], "without a number reward_mean_100"),
        (lambda run: [str(without_iterations(run)), "--out=a.png"], "no iteration yet"),
        (lambda run: [str(of_another_system(run)), "--out=a.png"], "of another system"),
    ],
)
def test_what_is_missing_is_said(wrong: Any, said: str, run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        cli.main(["curves", *wrong(run)])
    assert not Path("a.png").exists()
