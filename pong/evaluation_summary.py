"""What the games of an evaluation came to, as JSON and as a sentence."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scipy import stats

if TYPE_CHECKING:
    from pong.evaluation import GameResult  # imports the SDK, whose environment may not be prepared yet


def summary(results: Sequence["GameResult"]) -> dict[str, Any]:
    """What JSON says of some games. The interval is Student's, for the mean; none for a single game."""
    rewards = [result.reward for result in results]
    games, mean = len(rewards), math.fsum(rewards) / len(rewards)
    half = math.nan
    if games > 1:
        variance = math.fsum((reward - mean) ** 2 for reward in rewards) / (games - 1)
        half = float(stats.t.ppf(0.975, games - 1)) * math.sqrt(variance / games)
    return {
        "games": games,
        "mean": mean,
        "ci95_low": None if math.isnan(half) else mean - half,
        "ci95_high": None if math.isnan(half) else mean + half,
        "min": min(rewards),
        "max": max(rewards),
        "points_for": sum(result.points_for for result in results),
        "points_against": sum(result.points_against for result in results),
        "games_won": sum(reward > 0 for reward in rewards),
        "steps_mean": math.fsum(result.steps for result in results) / games,
    }


def in_words(found: dict[str, Any]) -> str:
    """The same as a sentence."""
    low, high = found["ci95_low"], found["ci95_high"]
    interval = "" if low is None else f" (95 % interval {low:+.2f} to {high:+.2f})"
    return (
        f"mean reward {found['mean']:+.2f}{interval}, from {found['min']:+d} to {found['max']:+d}; "
        f"{found['games_won']} of {found['games']} games won, "
        f"points {found['points_for']} : {found['points_against']}, {found['steps_mean']:,.0f} steps a game"
    )
