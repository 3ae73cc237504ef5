"""What happens in a run is told to the platform by name, with where it was."""

from typing import Any

import pytest
from small_runs import Diary, go_on, small_settings, train

import invariants


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(invariants, "send_event", lambda name, details: events.append((name, details)))
    return events


def test_each_commit_is_told_with_its_digest(told, tmp_path):
    diary = Diary()
    train(small_settings(tmp_path / "run", updates=3), diary)
    assert [(name, details["update"], details["weights_digest"]) for name, details in told] == [
        ("update_committed", line["update"], line["weights_digest"]) for line in diary.metrics
    ]
    assert all(type(value) in (int, str) for _, details in told for value in details.values())


def test_a_resume_is_told_with_where_the_ledger_ends(told, tmp_path):
    train(small_settings(tmp_path / "run", updates=3))
    told.clear()
    go_on(small_settings(tmp_path / "run", updates=4))
    assert told[0] == (
        "resumed",
        {"update": 3, "ledger": 3, "text": "resumed after update 3; the ledger ends at update 3"},
    )
    assert [name for name, _ in told[1:]] == ["update_committed"]
