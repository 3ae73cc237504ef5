"""One validated file in: what is wrong with it is said in one sentence that names the field."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from worker_runs import small_config

from bitexact.cli.exits import BadInput
from rllib_worker import algo_params, compatibility
from rllib_worker.config import RayWorkerConfig, load, parse

SPREAD = {"family": "mpe", "env_id": "simple_spread_v3", "api_type": "parallel"}
LISTENER = {"family": "mpe", "env_id": "simple_speaker_listener_v4", "api_type": "parallel"}
PISTONS = {"family": "butterfly", "env_id": "pistonball_v6", "api_type": "parallel"}

# what is changed in the small config, and words of the sentence that refuses it
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"colour": 1}, "colour: there is no such field"),
    ({"training.speed": 1}, "training.speed: there is no such field"),
    ({"run_id": "../x"}, "run_id:"),
    ({"seed": -1}, "seed:"),
    ({"training.total_timesteps": 0}, "training.total_timesteps:"),
    ({"training.algorithm": "SAC"}, "training.algorithm: there is no algorithm SAC"),
    ({"training.algo_params.lr": -1}, "algo_params.lr:"),
    ({"training.algo_params.clip": 1}, "algo_params.clip: PPO has no such parameter"),
    ({"training.algo_params.minibatch_size": 500}, "minibatch_size: 500 is more than the train_batch_size"),
    ({"policy_configuration": "shared"}, "policy_configuration:"),
    ({"environment.family": "board"}, "environment.family: there is no family board"),
    ({"environment.env_id": "chess_v5"}, "chess_v5 no longer exists; today it is chess_v6"),
    ({"environment.env_id": "pursuit_v5"}, "pursuit_v5 is of the family sisl"),
    ({"environment": {"family": "sisl", "env_id": "waterworld_v4", "api_type": "parallel"}}, "no longer exists"),
    ({"environment": {"family": "sisl", "env_id": "pursuit_v4", "api_type": "parallel"}}, "today it is pursuit_v5"),
    ({"environment.env_id": "poker_v1"}, "there is no poker_v1; classic has"),
    ({"environment.api_type": "parallel"}, "environment.api_type: tictactoe_v3 is played in turns; use aec"),
    ({"environment": {"family": "atari", "env_id": "pong_v3", "api_type": "aec"}}, "played all at once; use parallel"),
    ({"environment.env_kwargs": {"size": 4}}, "environment.env_kwargs: tictactoe_v3 refuses them"),
    ({"environment.render_mode": "human"}, "environment.render_mode:"),
    ({"environment": PISTONS, "training": {"algorithm": "DQN", "total_timesteps": 9}}, "DQN chooses among discrete"),
    ({"environment": SPREAD, "policy_configuration": "self_play"}, "self_play needs players against one another"),
    ({"environment": LISTENER}, "different spaces; use independent"),
    ({"environment": LISTENER, "policy_configuration": "shared_value_function"}, "different spaces; use independent"),
    ({"environment": PISTONS, "policy_configuration": "shared_value_function"}, "are pictures, too large together"),
    (
        {"policy_configuration": "shared_value_function", "training": {"algorithm": "DQN", "total_timesteps": 9}},
        "shared_value_function needs a value function; DQN has none",
    ),
    ({"resources.num_workers": 999}, "resources.num_workers: 999 workers of 1 CPU need 999 CPUs"),
    (
        {"resources.num_workers": 0, "training": {"algorithm": "IMPALA", "total_timesteps": 9}},
        "resources.num_workers: IMPALA samples beside the learner",
    ),
    (
        {"training": {"algorithm": "APPO", "total_timesteps": 9, "algo_params": {"train_batch_size": 7}}},
        "train_batch_size: 7 is no multiple of rollout_fragment_length",
    ),
    ({"extras": {"league_size": 3}}, "extras.league_size: parameter_sharing"),
    ({"policy_configuration": "self_play", "extras": {"league_size": 0}}, "extras.league_size: self_play"),
    ({"wandb": True}, "wandb: it is not installed here"),
    ({"fastlane_throttle_ms": -1}, "fastlane_throttle_ms:"),
    ({"checkpoint.checkpoint_freq": 0}, "checkpoint.checkpoint_freq:"),
]


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    for path, value in changes.items():
        *folders, name = path.split(".")
        inner = values
        for folder in folders:
            inner = inner.setdefault(folder, {})
        inner[name] = value
    return values


@pytest.mark.parametrize(("changes", "words"), REFUSED, ids=[words[:40] for _, words in REFUSED])
def test_what_does_not_go_together_is_refused_in_one_sentence(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput) as refused:
        compatibility.check(parse(changed(small_config(), changes), "run.json"))
    sentence = str(refused.value)
    assert words in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")


def test_the_small_config_is_accepted() -> None:
    report = compatibility.check(parse(small_config(), "run.json"))
    assert list(report.modules) == report.learning == ["shared"]
    assert report.modules["shared"].spec.layout.mask == 9


def test_a_value_is_changed_by_set(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(small_config()))
    config = load(path, ["training.algo_params.lr=3e-4", "run_id=other", "tensorboard=true"])
    assert config.training.parameters()["lr"] == 3e-4
    assert config.run_id == "other"
    assert config.tensorboard
    with pytest.raises(BadInput, match="is not FIELD=VALUE"):
        load(path, ["lr"])


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_a_file_that_is_no_config_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "run.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=r"run\.json"):
        load(path)


def test_the_config_has_a_json_schema_that_accepts_it() -> None:
    schema = RayWorkerConfig.model_json_schema()
    jsonschema.validate(parse(small_config(), "x").dump(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**small_config(), "colour": 1}, schema)


@pytest.mark.parametrize("algorithm", algo_params.ALGORITHMS)
def test_defaults_lie_within_their_own_ranges(algorithm: str) -> None:
    algo_params.check(algorithm, algo_params.defaults(algorithm))
    for name, about in algo_params.schema(algorithm)["properties"].items():
        assert about["description"], name
