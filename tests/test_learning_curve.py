"""That it learns: the one test of the whole that no digest can replace."""

import pytest
from commands import finished, lines

UPDATES = 30
BEGINNERS_REWARD = -20.4  # of random play, about
LEARNED_REWARD = -19.5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_hundred_games_with_default_settings_show_that_it_learns(tmp_path):
    done = finished(f"--run-dir={tmp_path / 'run'}", f"--updates={UPDATES}", "--seed=0", limit_s=800.0)
    assert done.returncode == 0, done.stderr
    metrics = lines(tmp_path / "run" / "metrics.jsonl")
    first_100, last_100 = metrics[9]["reward_mean_100"], metrics[-1]["reward_mean_100"]
    assert first_100 < BEGINNERS_REWARD + 0.4
    assert last_100 > LEARNED_REWARD
