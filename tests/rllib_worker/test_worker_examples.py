"""Every example config passes --dry-run, and two iterations that sample steps and change weights."""

import json
from pathlib import Path

import pytest
from commands import ROOT
from worker_runs import finished

from rllib_worker import algo_params, compatibility
from rllib_worker.catalog import FAMILIES
from rllib_worker.config import PolicyConfiguration, load

EXAMPLES = sorted((ROOT / "rllib_worker" / "examples").glob("*.json"))
SHORT = {"train_batch_size": 100, "minibatch_size": 50, "steps_per_iteration": 100, "learning_starts": 50}


def test_there_is_one_for_each_algorithm_policy_configuration_and_family() -> None:
    configs = [load(path) for path in EXAMPLES]
    assert {one.training.algorithm for one in configs} == set(algo_params.ALGORITHMS)
    assert {one.policy_configuration for one in configs} == set(PolicyConfiguration)
    assert {one.environment.family for one in configs} == set(FAMILIES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_passes_what_a_dry_run_checks(path: Path) -> None:
    assert compatibility.check(load(path)).text().startswith("{")


def test_a_dry_run_starts_nothing_and_ends_0(tmp_path: Path) -> None:
    out = f'output_dir="{tmp_path}/runs"'
    code, printed, err = finished("--config", str(EXAMPLES[0]), "--dry-run", "--set", out)
    assert code == 0, err
    assert "policy " in printed
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_trains(path: Path, tmp_path: Path) -> None:
    config = json.loads(path.read_text())
    known = algo_params.schema(config["training"]["algorithm"])["properties"]
    config["training"]["algo_params"] |= {name: value for name, value in SHORT.items() if name in known}
    config["training"]["total_timesteps"] = 200
    short = tmp_path / "short.json"
    short.write_text(json.dumps({**config, "output_dir": str(tmp_path / "runs")}))
    code, printed, err = finished("--config", str(short))
    assert code == 0, err + printed
    written = [json.loads(line) for line in next(tmp_path.glob("runs/*/metrics.jsonl")).read_text().splitlines()]
    assert all(line["steps"] > 0 for line in written)
    assert len({line["weights_digest"] for line in written}) == len(written)
