"""The golden playthroughs: told again, each scenario is what its file says."""

import difflib

import playthroughs
import pytest
from playthroughs import FOLDER, SCENARIOS, path_of, told

MOST_BYTES = 8_000  # somebody is to read the difference


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_scenario_is_as_it_was(scenario):
    before, now = path_of(scenario).read_text().splitlines(), told(scenario).splitlines()
    moved = list(difflib.unified_diff(before, now, "recorded", "now", lineterm="", n=1))
    assert not moved, "\n".join(["what moved (make golden, if it was meant to):", *moved[:40]])


def test_there_is_no_file_without_a_scenario_and_none_is_large():
    assert set(FOLDER.iterdir()) == {path_of(scenario) for scenario in SCENARIOS}
    assert all(path.stat().st_size < MOST_BYTES for path in FOLDER.iterdir())


def test_another_order_of_a_sum_shows(monkeypatch):
    """A planted change: the pair is turned round."""
    monkeypatch.setattr(playthroughs.Term, "__add__", lambda self, other: playthroughs.Term(f"({other}+{self})"))
    assert told(playthroughs.order_of_a_sum) != path_of(playthroughs.order_of_a_sum).read_text()
