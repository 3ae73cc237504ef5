"""The league: opponents are a function of the seed, and snapshots are added when main is better."""

from collections import Counter
from typing import Any

from worker_runs import small_config

from rllib_worker import policies
from rllib_worker.config import RayWorkerConfig
from rllib_worker.env_runner import EpisodeRecord
from rllib_worker.league import League
from rllib_worker.policies import MAIN, LeagueSettings, place
from rllib_worker.seeds import Address

AGENTS = ["player_1", "player_2"]


def config(**extras: Any) -> RayWorkerConfig:
    return RayWorkerConfig.model_validate({**small_config(), "policy_configuration": "self_play", "extras": extras})


def game(mine: float, opponent: str = place(0)) -> EpisodeRecord:
    modules = {"player_1": opponent, "player_2": MAIN}
    return EpisodeRecord(1, 0, 0, modules, {"player_1": -mine, "player_2": mine}, 9)


def test_opponents_are_a_function_of_the_address_and_all_of_them_are_met() -> None:
    run = config(league_size=3, self_share=0.25)
    drawn = [policies.assignment(run, AGENTS, Address(7, 1, 2, number), snapshots=9) for number in range(4000)]
    assert drawn == [policies.assignment(run, AGENTS, Address(7, 1, 2, number), snapshots=9) for number in range(4000)]
    assert drawn != [policies.assignment(run, AGENTS, Address(8, 1, 2, number), snapshots=9) for number in range(4000)]
    met = Counter(tuple(sorted(one.values())) for one in drawn)
    assert abs(met[MAIN, MAIN] / 4000 - 0.25) < 0.03
    for number in range(3):
        assert abs(met[MAIN, place(number)] / 4000 - 0.25) < 0.03
    first = Counter(one["player_1"] == MAIN for one in drawn if set(one.values()) != {MAIN})
    assert abs(first[True] / first.total() - 0.5) < 0.03


def test_only_snapshots_that_there_are_play() -> None:
    run = config(league_size=5, self_share=0.0)
    drawn = [policies.assignment(run, AGENTS, Address(7, 1, 0, number), snapshots=1) for number in range(50)]
    assert {name for one in drawn for name in one.values()} == {MAIN, place(0)}


def test_a_snapshot_is_due_at_the_set_rate_in_enough_games_and_the_oldest_makes_room() -> None:
    league = League(LeagueSettings(league_size=2, win_rate=0.75, window_games=4))
    league.add(0, "a")
    league.count([game(1), game(1), game(0), game(1, opponent=MAIN)])
    assert (league.games, league.score) == (3, 2.5 / 3)
    assert not league.is_due()  # three games are not four
    league.count([game(1)])
    assert league.is_due()
    league.add(5, "b")
    assert league.games == 0
    league.add(9, "c")
    assert [(one.place, one.digest) for one in league.snapshots] == [(place(1), "b"), (place(0), "c")]
    assert League.parse(league.settings, league.dump()) == league


def test_who_loses_by_the_others_move_is_told_at_its_own_last_move() -> None:
    from ray.rllib.env.env_context import EnvContext
    from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

    from rllib_worker.adapter import CONFIG, FRAMES, GameEnv

    env = GameEnv(EnvContext({CONFIG: config().dump(), FRAMES: ""}, worker_index=0))
    episode = MultiAgentEpisode(observation_space=env.observation_spaces, action_space=env.action_spaces)
    episode.add_env_reset(observations=env.reset()[0])
    for number, cell in enumerate((0, 3, 1, 4, 2)):  # a line of 0, 1 and 2 for the first
        moved = {AGENTS[number % 2]: cell}
        seen, rewards, terminated, truncated, _ = env.step(moved)
        episode.add_env_step(
            observations=seen, actions=moved, rewards=rewards, terminateds=terminated, truncateds=truncated
        )
    first, second = (episode.agent_episodes[agent] for agent in AGENTS)
    assert (list(first.actions), list(first.rewards)) == ([0, 1, 2], [0, 0, 1])
    assert (list(second.actions), list(second.rewards)) == ([3, 4], [0, -1])
    assert first.is_terminated
    assert second.is_terminated
