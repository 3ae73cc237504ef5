"""That it learns: the one claim about the whole that no digest can stand for."""

import pytest
from commands import finished, lines

UPDATES = 14
BEGINNING, LEARNED = -19.5, -12.5  # mean rewards of ten games, before and after it has learned


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_learns_from_a_hundred_and_forty_games_with_default_settings(tmp_path):
    done = finished(f"--run-dir={tmp_path / 'run'}", f"--updates={UPDATES}", "--seed=1", limit_s=800.0)
    assert done.returncode == 0, done.stderr
    metrics = lines(tmp_path / "run" / "metrics.jsonl")
    assert metrics[0]["reward_mean"] < BEGINNING
    assert metrics[-1]["reward_mean"] > LEARNED
