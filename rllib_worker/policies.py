"""Policy configurations: which modules there are, which agent is played by which, and which of them learn.

parameter_sharing      one module, "shared", plays every agent
independent            one module an agent, of the agent's name
self_play              "main" learns; its snapshots in the league's places ("place_0", ...) do not
shared_value_function  one module, "team": an actor an agent, one critic that sees everybody's observations
"""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from rllib_worker.config import PolicyConfiguration, RayWorkerConfig
from rllib_worker.seeds import Address, Purpose

MAIN, SHARED, TEAM = "main", "shared", "team"


class LeagueSettings(BaseModel):
    """What `extras` may hold for self-play."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    league_size: int = Field(5, ge=1, le=100, description="snapshots kept; the oldest makes room")
    win_rate: float = Field(
        0.6, gt=0.0, le=1.0, description="a snapshot is added once main scores so much against the newest"
    )
    window_games: int = Field(100, ge=1, description="in so many games at least; a draw scores a half")
    self_share: float = Field(0.2, ge=0.0, le=1.0, description="part of games that main plays against itself")


class NoExtras(BaseModel):
    """What `extras` may hold otherwise: nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def league_settings(config: RayWorkerConfig) -> LeagueSettings:
    """Those of a run by self-play."""
    return LeagueSettings.model_validate(config.extras)


def needs_shared_value(config: RayWorkerConfig) -> bool:
    """Whether agents are shown everybody's observations too, for the critic."""
    return config.policy_configuration is PolicyConfiguration.SHARED_VALUE_FUNCTION


def place(number: int) -> str:
    """The module in a place of the league."""
    return f"place_{number}"


def modules(config: RayWorkerConfig, agents: Sequence[str]) -> list[str]:
    """All modules of a run, in the order in which they are made."""
    match config.policy_configuration:
        case PolicyConfiguration.PARAMETER_SHARING:
            return [SHARED]
        case PolicyConfiguration.INDEPENDENT:
            return list(agents)
        case PolicyConfiguration.SHARED_VALUE_FUNCTION:
            return [TEAM]
        case PolicyConfiguration.SELF_PLAY:
            return [MAIN, *map(place, range(league_settings(config).league_size))]


def learning(config: RayWorkerConfig, agents: Sequence[str]) -> list[str]:
    """Those of them that learn."""
    return [MAIN] if config.policy_configuration is PolicyConfiguration.SELF_PLAY else modules(config, agents)


def assignment(config: RayWorkerConfig, agents: Sequence[str], address: Address, snapshots: int) -> dict[str, str]:
    """Which module plays each agent in an episode: a function of the seed and of how many snapshots there were."""
    match config.policy_configuration:
        case PolicyConfiguration.INDEPENDENT:
            return {agent: agent for agent in agents}
        case PolicyConfiguration.SELF_PLAY:
            return _opponents(config, agents, address, snapshots)
        case _:
            return dict.fromkeys(agents, modules(config, agents)[0])


def _opponents(config: RayWorkerConfig, agents: Sequence[str], address: Address, snapshots: int) -> dict[str, str]:
    """Main sits anywhere; the others are itself, or one snapshot drawn from those in the league."""
    settings = league_settings(config)
    alone, seat, which = address.stream(Purpose.OPPONENT).uniforms(3).tolist()
    if alone < settings.self_share:
        return dict.fromkeys(agents, MAIN)
    opponent = place(int(which * min(snapshots, settings.league_size)))
    mine = agents[int(seat * len(agents))]
    return {agent: MAIN if agent == mine else opponent for agent in agents}
