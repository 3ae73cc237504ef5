"""That it learns: the one claim about the whole that no digest can stand for."""

import pytest
from commands import finished, lines

UPDATES = 30
BEGINNING, LEARNED = -19.5, -15.0  # mean rewards of a hundred games: before it can have learned much, and after


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_learns_from_three_hundred_games_with_default_settings(tmp_path):
    done = finished(f"--run-dir={tmp_path / 'run'}", f"--updates={UPDATES}", "--seed=1", limit_s=800.0)
    assert done.returncode == 0, done.stderr
    metrics = lines(tmp_path / "run" / "metrics.jsonl")
    assert metrics[9]["reward_mean_100"] < BEGINNING
    assert metrics[-1]["reward_mean_100"] > LEARNED
