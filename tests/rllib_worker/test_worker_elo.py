"""Elo against players whose strengths are known."""

import numpy as np

from rllib_worker.elo import ratings


def test_known_strengths_are_found_within_their_intervals() -> None:
    truth, draw = np.array([-150.0, 0.0, 150.0]), np.random.default_rng(1)
    results = []
    for a, b in ((0, 1), (0, 2), (1, 2)):
        chance = 1 / (1 + 10 ** ((truth[b] - truth[a]) / 400))
        results += [(a, b, float(draw.random() < chance)) for _ in range(1000)]
    found = ratings(results, 3)
    for one, elo in zip(found, truth, strict=True):
        assert one.low - 10 < elo < one.high + 10
        assert one.low < one.elo < one.high
        assert one.high - one.low < 80


def test_two_players_follow_elos_formula() -> None:
    found = ratings([(0, 1, 1.0)] * 7500 + [(0, 1, 0.0)] * 2500, 2)
    assert abs(found[0].elo - found[1].elo - 400 * np.log10(3)) < 1


def test_a_player_that_never_lost_has_a_rating() -> None:
    found = ratings([(0, 1, 1.0)] * 10, 2)
    assert np.isfinite(found[0].elo)
    assert found[0].elo > found[1].elo
