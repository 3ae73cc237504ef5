"""Games of trained policies, against one another or a player that draws among the legal moves, without a cluster.

    results = run_evaluation(EvaluationConfig(environment, [Player.parse("var/trainer/runs/tictactoe"), RANDOM]))

A game is a function of (seed, its number, who sits where): the same whatever the number of processes. Seats rotate from
game to game. A policy that fails ends the evaluation with its error; nothing is replaced by random moves.
"""

import multiprocessing
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitexact.cli.exits import BadInput
from rllib_worker import policies
from rllib_worker.config import EnvironmentConfig, PolicyConfiguration
from rllib_worker.environments import EnvironmentFactory, Game
from rllib_worker.evaluation_results import EpisodeMetrics, EvaluationResults
from rllib_worker.film import film
from rllib_worker.kept import config_of
from rllib_worker.policy_actor import RayPolicyActor, RayPolicyConfig, create_ray_actor
from rllib_worker.seeds import Address, Purpose

_RANDOM = "random"
_GAMES_AT_A_TIME = 16  # that a process is handed


@dataclass(frozen=True)
class Player:
    """Who plays: a run's policies, of its newest checkpoint or another; or at random."""

    name: str
    run: Path | None = None
    module: str | None = None
    iteration: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Player":
        """RUN, RUN:POLICY, RUN@ITERATION, RUN:POLICY@ITERATION or "random"."""
        if text == _RANDOM:
            return cls(_RANDOM)
        found = re.fullmatch(r"(.+?)(?::([\w.-]+))?(?:@(\d+))?", text)
        if not found:
            raise BadInput(f"{text} names no player: RUN, RUN:POLICY, RUN@ITERATION or random.")
        iteration = int(found[3]) if found[3] else None
        return cls(text, Path(found[1]), found[2], iteration)


RANDOM = Player(_RANDOM)


@dataclass(frozen=True)
class EvaluationConfig:
    """What is played. The first player is the one that is evaluated; with one alone it plays every agent."""

    environment: EnvironmentConfig
    players: tuple[Player, ...]
    games: int = 100
    seed: int = 0
    greedy: bool = False
    processes: int = 1
    drawn: bool = False  # games are made so that they can be looked at


def _look_away(_: Game) -> None:
    pass


class PolicyEvaluator:
    """Plays the games of an evaluation in this process."""

    def __init__(self, config: EvaluationConfig) -> None:
        self._config = config
        self._players = [_seated(player, config) for player in config.players]
        seeing = [player.game for player in self._players if player.sees]
        self._game = seeing[0] if seeing else self._players[0].game
        if any(game.layouts != self._game.layouts for game in seeing):
            raise BadInput("these policies are shown different observations of the game: they cannot meet.")

    def play(self, number: int, look: Callable[[Game], None] = _look_away) -> EpisodeMetrics:
        """One game, to be looked at before the first step and after each. Raises whatever a policy raises."""
        game = self._game
        seats = {agent: self._seat(number, index) for index, agent in enumerate(game.agents)}
        for index, agent in enumerate(game.agents):
            self._players[seats[agent]].begin(agent, number, index)
        seed = Address(self._config.seed, number).number(Purpose.MATCH)
        seen, over, length = game.reset(seed), False, 0
        returns, to_act = dict.fromkeys(game.agents, 0.0), list(seen)
        look(game)
        while not over:
            actions = {one: self._players[seats[one]].act(one, seen[one], game) for one in to_act}
            step = game.step(actions)
            for agent, reward in step.rewards.items():
                returns[agent] += reward
            seen, over, length = step.observations, step.over, length + 1
            look(game)
            to_act = [one for one in seen if one not in step.terminated and one not in step.truncated]
        names = {agent: self._config.players[seat].name for agent, seat in seats.items()}
        return EpisodeMetrics(number, names, returns, length)

    def _seat(self, number: int, index: int) -> int:
        """Which player plays an agent: the first sits at one seat, which rotates; the others share the rest."""
        others = len(self._players) - 1
        place = (index - number) % len(self._game.agents)
        return 0 if place == 0 or not others else 1 + (place - 1) % others


class _Seated:
    """A player with its policies in memory, one for each agent that it may be."""

    def __init__(self, game: Game, actors: Callable[[str], RayPolicyActor] | None, seed: int) -> None:
        self.game, self._make, self._seed = game, actors, seed
        self._actors: dict[str, RayPolicyActor] = {}
        self._drawn: dict[str, Any] = {}

    @property
    def sees(self) -> bool:
        """Whether it looks at the game at all."""
        return self._make is not None

    def begin(self, agent: str, game: int, index: int) -> None:
        """A game begins, in which it plays an agent."""
        self._drawn[agent] = iter(Address(self._seed, game, index).stream(Purpose.MATCH_ACTIONS))
        if self._make:
            if agent not in self._actors:
                self._actors[agent] = self._make(agent)
            self._actors[agent].begin(game)

    def act(self, agent: str, vector: np.ndarray, game: Game) -> Any:
        """The action of an agent that it plays."""
        if self._make:
            return self._actors[agent].act(vector)
        space, mask = game.action_spaces[agent], game.mask(agent)
        draw = next(self._drawn[agent])
        if hasattr(space, "n"):
            legal = np.flatnonzero(mask) if mask.size else np.arange(int(space.n))
            return int(legal[int(draw * len(legal))])
        bounds: Any = space
        more = np.array([draw] + [next(self._drawn[agent]) for _ in range(bounds.low.size - 1)])
        return (bounds.low + more.reshape(bounds.shape) * (bounds.high - bounds.low)).astype(np.float32)


def _seated(player: Player, config: EvaluationConfig) -> _Seated:
    if player.run is None:
        return _Seated(EnvironmentFactory(config.environment).make(config.drawn), None, config.seed)
    run = config_of(player.run)
    if run.environment != config.environment:
        raise BadInput(f"{player.run} plays {run.environment.env_id} otherwise than the others: they cannot meet.")
    game = EnvironmentFactory(config.environment, policies.needs_shared_value(run)).make(config.drawn)

    def make(agent: str) -> RayPolicyActor:
        own = agent if run.policy_configuration is PolicyConfiguration.INDEPENDENT else None
        return create_ray_actor(
            RayPolicyConfig(
                run=player.run,
                policy_id=player.module or own,
                iteration=player.iteration,
                greedy=config.greedy,
                seed=config.seed,
                number=1 + game.agents.index(agent),
            )
        )

    return _Seated(game, make, config.seed)


_evaluator: PolicyEvaluator  # of this process, where there are several


def _prepare(config: EvaluationConfig) -> None:
    global _evaluator
    _evaluator = PolicyEvaluator(config)


def _play(number: int) -> EpisodeMetrics:
    return _evaluator.play(number)


def run_evaluation(config: EvaluationConfig) -> EvaluationResults:
    """Play all games. Raises BadInput for players that cannot meet, and whatever a policy raises."""
    if config.processes == 1:
        evaluator = PolicyEvaluator(config)
        episodes = [evaluator.play(number) for number in range(config.games)]
    else:
        context = multiprocessing.get_context("spawn")
        with context.Pool(config.processes, _prepare, (config,)) as pool:
            episodes = pool.map(_play, range(config.games), chunksize=_GAMES_AT_A_TIME)
    return EvaluationResults(config.players[0].name, episodes)


def film_game(config: EvaluationConfig, number: int, path: Path) -> None:
    """Play one of an evaluation's games again, and write it as a video. Raises DiskRefused, BadInput."""
    evaluator = PolicyEvaluator(replace(config, drawn=True))
    with film(path) as show:
        evaluator.play(number, look=lambda game: show(game.render()))
