"""Every game, played through the adapter: legal, the same for the same seed, and never an illegal action."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from bitexact.cli.exits import PropertyFailed
from rllib_worker import catalog, networks
from rllib_worker.config import EnvironmentConfig
from rllib_worker.environments import EnvironmentFactory, Game
from rllib_worker.networks import Actor, Spec
from rllib_worker.observations import SIDE, STACKED, Encoder
from rllib_worker.policy_actor import RayPolicyActor, RayPolicyConfig
from rllib_worker.policy_file import SavedPolicy

SMALL = {"go_v5": {"board_size": 5}, "pistonball_v6": {"n_pistons": 10}, "pursuit_v5": {"max_cycles": 30}}
LIMITS = {"pistonball_v6": 40, "pong_v3": 60}  # steps of games that take long
Pick = Callable[[Game, str, np.random.Generator, np.ndarray], Any]
MASKED = [one for one in catalog.GAMES.values() if one.turns_only]


def make(entry: catalog.Entry, shared_value: bool = False, api: str | None = None, render: bool = False) -> Game:
    config = EnvironmentConfig(
        family=entry.family,
        env_id=entry.env_id,
        api_type=api or ("aec" if entry.turns_only else "parallel"),
        env_kwargs=SMALL.get(entry.env_id, {}),
    )
    return EnvironmentFactory(config, shared_value).make(render)


def choose(game: Game, agent: str, draw: np.random.Generator, seen: np.ndarray) -> Any:
    space, mask = game.action_spaces[agent], game.mask(agent)
    if mask.size:
        return int(draw.choice(np.flatnonzero(mask)))
    return int(draw.integers(space.n)) if isinstance(space, spaces.Discrete) else draw.uniform(-1, 1, space.shape)


def play(game: Game, seed: int, limit: int = 200, pick: Pick = choose) -> tuple[int, bool, int, dict[str, float]]:
    """Steps, whether it ended, a checksum of all that was seen, and the returns."""
    draw, checksum, over, steps = np.random.default_rng(seed), 0, False, 0
    seen, returns = game.reset(seed), dict.fromkeys(game.agents, 0.0)
    to_act = list(seen)
    while not over and steps < limit:
        for agent, vector in seen.items():
            assert vector.shape == (game.layouts[agent].size,)
            assert vector.dtype == np.float32
            checksum = zlib.crc32(vector.tobytes(), checksum)
        step = game.step({agent: pick(game, agent, draw, seen[agent]) for agent in to_act})
        for agent, reward in step.rewards.items():
            returns[agent] += reward
        seen, over, steps = step.observations, step.over, steps + 1
        to_act = [one for one in seen if one not in step.terminated and one not in step.truncated]
    return steps, over, checksum, returns


@pytest.mark.parametrize("entry", catalog.GAMES.values(), ids=lambda entry: entry.env_id)
def test_a_game_is_a_function_of_its_seed_whatever_was_played_before(entry: catalog.Entry) -> None:
    game, limit = make(entry), LIMITS.get(entry.env_id, 200)
    first = play(game, 7, limit)
    play(game, 8, limit=20)
    assert play(game, 7, limit) == first
    other = make(entry)
    assert play(other, 7, limit) == first
    assert play(other, 12, limit)[2] != first[2]


@pytest.mark.parametrize("entry", catalog.GAMES.values(), ids=lambda entry: entry.env_id)
def test_every_game_is_drawn_and_drawing_it_changes_nothing(entry: catalog.Entry) -> None:
    plain, drawn = make(entry), make(entry, render=True)

    def look_and_choose(game: Game, agent: str, draw: np.random.Generator, seen: np.ndarray) -> Any:
        picture = game.render()
        assert picture.shape[2] == 3
        assert picture.any()
        return choose(game, agent, draw, seen)

    assert play(drawn, 7, limit=10, pick=look_and_choose) == play(plain, 7, limit=10)


@pytest.mark.parametrize("env_id", ["cooperative_pong_v6", "pong_v3", "pistonball_v6"])
def test_pictures_are_not_black_and_change(env_id: str) -> None:
    game = make(catalog.GAMES[env_id])
    agent = game.agents[-1]
    first = game.reset(1)[agent]
    for number in range(8):
        continuous = isinstance(game.action_spaces[agent], spaces.Box)
        action: Any = np.ones(1, np.float32) if continuous else 1 + number % 2
        seen = game.step(dict.fromkeys(game.agents, action)).observations[agent]
    assert first.max() > 0
    assert not np.array_equal(first, seen)


@pytest.mark.parametrize("entry", MASKED, ids=lambda entry: entry.env_id)
def test_an_illegal_action_never_reaches_the_game(entry: catalog.Entry) -> None:
    game = make(entry)
    (agent,) = game.reset(1)
    illegal = np.flatnonzero(game.mask(agent) == 0)
    while not illegal.size:  # until the first field or column is full
        (agent,) = game.step({agent: 0}).observations
        illegal = np.flatnonzero(game.mask(agent) == 0)
    with pytest.raises(PropertyFailed, match="an action is legal"):
        game.step({agent: int(illegal[0])})


def untrained(game: Game) -> dict[str, RayPolicyActor]:
    """A policy for each agent, of random weights so large that it strongly wants some actions, legal or not."""
    actors = {}
    for number, agent in enumerate(game.agents):
        spec = Spec.of(game.layouts[agent], game.action_spaces[agent], {"hidden_sizes": [16]})
        torch.manual_seed(number)
        weights = {f"actor.{name}": 20 * array.numpy() for name, array in Actor(spec).state_dict().items()}
        actors[agent] = RayPolicyActor(SavedPolicy("main", spec, "PPO", (), (), weights), RayPolicyConfig())
    return actors


def play_masked(env_id: str, by: str, games: int) -> None:
    """Whole games of a drawn legal action each, or of a policy's masked distribution."""
    game = make(catalog.GAMES[env_id])
    actors = untrained(game)
    for number in range(games):
        for actor in actors.values():
            actor.begin(number)
        pick = choose if by == "chance" else lambda _, agent, __, seen: actors[agent].act(seen)
        assert play(game, number, limit=2000, pick=pick)[1]


BY = pytest.mark.parametrize("by", ["chance", "a policy"])
IDS = pytest.mark.parametrize("env_id", [entry.env_id for entry in MASKED])


@BY
@IDS
def test_games_without_an_illegal_move(env_id: str, by: str) -> None:
    play_masked(env_id, by, games=1 if env_id == "chess_v6" else 50)


@pytest.mark.slow
@pytest.mark.campaign
@pytest.mark.timeout(3 * 3600)  # chess takes more than an hour, all the others together some minutes
@BY
@IDS
def test_ten_thousand_games_without_an_illegal_move(env_id: str, by: str) -> None:
    play_masked(env_id, by, games=10_000)


def test_a_policy_that_knows_no_masks_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "ILLEGAL", 0.0)
    with pytest.raises(PropertyFailed, match="an action is legal"):
        play_masked("tictactoe_v3", "a policy", games=50)


def test_the_critic_is_shown_everybody_and_the_actor_itself_alone() -> None:
    game = make(catalog.GAMES["simple_spread_v3"], shared_value=True)
    seen = game.reset(3)
    owns = {}
    for number, agent in enumerate(game.agents):
        mask, which, own, everybody = game.layouts[agent].parts()
        assert seen[agent][which].tolist() == np.eye(3)[number].tolist()
        owns[agent] = seen[agent][own]
        assert not seen[agent][mask].size
        assert seen[agent][everybody].size == 3 * owns[agent].size
    together = np.concatenate([owns[agent] for agent in game.agents])
    for agent in game.agents:
        assert np.array_equal(seen[agent][game.layouts[agent].parts()[3]], together)


@pytest.mark.parametrize("env_id", ["simple_tag_v3", "multiwalker_v9", "rps_v2", "knights_archers_zombies_v11"])
def test_the_same_game_in_turns(env_id: str) -> None:
    steps, _, _, _ = play(make(catalog.GAMES[env_id], api="aec"), 5)
    assert steps > 0


def test_a_picture_is_the_mean_of_its_fields() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (84, 126, 3), dtype=np.uint8)
    encoder = Encoder(spaces.Box(0, 255, picture.shape, np.uint8), "x")
    expected = picture.reshape(SIDE, 2, SIDE, 3, 3).mean(axis=(1, 3, 4)) / 255
    seen = encoder(picture).reshape(STACKED, SIDE, SIDE)
    for frame in seen:  # the first stands for those before it
        np.testing.assert_allclose(frame, expected, rtol=1e-6)
