"""What an evaluation gives: each episode, and returns, lengths, wins and draws with intervals."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class EpisodeMetrics:
    """One game."""

    game: int
    players: dict[str, str]  # who played each agent
    returns: dict[str, float]
    length: int

    def result_of(self, player: str) -> float | None:
        """1 if a player's agents got more than the others', 0 if less, a half if as much; None if it played alone."""
        mine = [value for agent, value in self.returns.items() if self.players[agent] == player]
        theirs = [value for agent, value in self.returns.items() if self.players[agent] != player]
        if not mine or not theirs:
            return None
        difference = float(np.mean(mine)) - float(np.mean(theirs))
        return 0.5 if difference == 0 else float(difference > 0)


@dataclass(frozen=True)
class EvaluationResults:
    """All games of an evaluation, in order."""

    player: str
    episodes: list[EpisodeMetrics]

    def summary(self) -> dict[str, Any]:
        """Figures: means with the half width of their 95 % interval, and how games ended for the player."""
        results = [one.result_of(self.player) for one in self.episodes]
        played = [one for one in results if one is not None]
        agents = list(self.episodes[0].returns)
        mine = [self._of_player(one) for one in self.episodes]
        summary: dict[str, Any] = {
            "games": len(self.episodes),
            "return": _mean_and_half_width(mine),
            "returns": {agent: _mean_and_half_width([one.returns[agent] for one in self.episodes]) for agent in agents},
            "length": _mean_and_half_width([float(one.length) for one in self.episodes]),
        }
        if played:
            counts = {name: played.count(value) for name, value in (("wins", 1.0), ("draws", 0.5), ("losses", 0.0))}
            summary |= counts | {"without_loss": 1.0 - counts["losses"] / len(played)}
        return summary

    def dump(self) -> dict[str, Any]:
        """As JSON values: the summary and every game."""
        return {"player": self.player, "summary": self.summary(), "episodes": [asdict(one) for one in self.episodes]}

    def _of_player(self, episode: EpisodeMetrics) -> float:
        mine = [value for agent, value in episode.returns.items() if episode.players[agent] == self.player]
        return float(np.mean(mine)) if mine else float(np.mean(list(episode.returns.values())))


def _mean_and_half_width(values: Sequence[float]) -> list[float]:
    """Mean, and 1.96 standard errors."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return [float(np.mean(values)), 1.96 * spread / len(values) ** 0.5]
