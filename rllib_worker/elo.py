"""Elo ratings from a table of results: Bradley-Terry by maximum likelihood, with an interval by the bootstrap.

A rating is 400 / ln 10 times a strength; strengths are those under which the points of each player are as expected
(Bradley and Terry, 1952; the iteration is Hunter's MM, 2004). A draw is half a point for each. One prior draw between
each pair that met keeps a player that never lost from an infinite rating.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rllib_worker.seeds import Address, Purpose

_SCALE = 400.0 / np.log(10.0)
_ROUNDS, _CLOSE = 10_000, 1e-10
_RESAMPLES = 200


@dataclass(frozen=True)
class Rating:
    """A player's rating and its 95 % interval; the mean of all players is 0."""

    elo: float
    low: float
    high: float


def ratings(results: Sequence[tuple[int, int, float]], players: int, seed: int = 0) -> list[Rating]:
    """Ratings of players 0 ... players - 1. `results` holds (a, b, points of a: 0, 0.5 or 1) of each game."""
    table = np.array(results, np.float64)
    best = _fit(table, players)
    draws = Address(seed, 0).stream(Purpose.INTERVAL)
    again = [table[(draws.uniforms(len(table)) * len(table)).astype(np.int64)] for _ in range(_RESAMPLES)]
    fits = np.array([_fit(one, players) for one in again])
    low, high = np.percentile(fits, [2.5, 97.5], axis=0)
    return [Rating(*map(float, one)) for one in zip(best, low, high, strict=True)]


def _fit(results: np.ndarray, players: int) -> np.ndarray:
    """[games, 3] -> [players]."""
    points, met = np.zeros(players), np.zeros((players, players))
    first, second = results[:, 0].astype(int), results[:, 1].astype(int)
    np.add.at(points, first, results[:, 2])
    np.add.at(points, second, 1.0 - results[:, 2])
    np.add.at(met, (first, second), 1.0)
    met = met + met.T
    prior = (met > 0).astype(np.float64)
    points, met = points + prior.sum(axis=1) / 2, met + prior
    strength = np.ones(players)
    for _ in range(_ROUNDS):
        expected = (met / (strength[:, None] + strength[None, :])).sum(axis=1)
        new = np.where(expected > 0, points / np.maximum(expected, 1e-300), strength)
        new /= np.exp(np.log(new).mean())
        if np.abs(new - strength).max() < _CLOSE:
            break
        strength = new
    elo: np.ndarray = _SCALE * np.log(strength)
    return elo
