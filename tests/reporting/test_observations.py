"""What processes saw is joined; damaged lines are named and left out."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitexact.reporting.observations import Observations, Seen, observe

CLAIMS = ("first", "second", "third")
hits = st.tuples(st.sampled_from(CLAIMS), st.sampled_from(["always", "sometimes"]), st.booleans(), st.booleans())


def line(hit: tuple[str, str, bool, bool], number: int) -> str:
    claim, kind, condition, was_hit = hit
    details = {"number": number}
    assertion = {"message": claim, "assert_type": kind, "condition": condition, "hit": was_hit, "details": details}
    return json.dumps({"antithesis_assert": assertion}) + "\n"


@given(st.lists(st.lists(hits, max_size=6), max_size=4))
def test_what_processes_saw_is_joined(processes):
    with tempfile.TemporaryDirectory() as folder:
        for process, seen in enumerate(processes):
            text = "".join(line(hit, number) for number, hit in enumerate(seen))
            (Path(folder) / f"host-{process}.jsonl").write_text(text)
        observations = observe([Path(folder)])
    assert observations.files == len(processes)
    assert observations.damage == []
    for claim in CLAIMS:
        hit = [(kind, holds) for seen in processes for name, kind, holds, was_hit in seen if name == claim and was_hit]
        expected = (any(holds for _, holds in hit), ("always", False) in hit)
        assert outcome(observations, claim) == expected


def outcome(observations: Observations, claim: str) -> tuple[bool, bool]:
    """Whether a property passed somewhere, and whether it failed somewhere."""
    seen = observations.seen.get(claim, Seen())
    return seen.passed, seen.failure is not None


@pytest.mark.parametrize("torn", [b"", b"{", b'{"antithesis_assert": {"hit": tr', b"\xff\xfe", b"5", b"[]", b"null"])
def test_a_damaged_line_is_named_and_the_others_are_used(torn, tmp_path):
    path = tmp_path / "host-1.jsonl"
    sound = line(("first", "always", True, True), 0).encode()
    path.write_bytes(sound + torn + b"\n" + line(("second", "always", False, True), 1).encode())
    observations = observe([tmp_path])
    assert observations.damage == [f"{path} line 2 is damaged and is not used"]
    assert outcome(observations, "first") == (True, False)
    assert outcome(observations, "second") == (False, True)


SOUND = {"message": "first", "assert_type": "always", "condition": True, "hit": True}


@pytest.mark.parametrize(
    "assertion",
    [
        {},
        {"hit": True},
        {"hit": True, "message": "first"},
        5,
        "text",
        SOUND | {"message": ["first"]},
        SOUND | {"hit": 1},
    ],
)
def test_a_line_that_lacks_something_is_named(assertion, tmp_path):
    path = tmp_path / "host-1.jsonl"
    path.write_text(json.dumps({"antithesis_assert": assertion}) + "\n" + line(("first", "always", True, True), 1))
    observations = observe([tmp_path])
    assert observations.damage == [f"{path} line 1 is damaged and is not used"]
    assert outcome(observations, "first") == (True, False)


def test_lines_about_other_things_are_passed_over(tmp_path):
    (tmp_path / "host-1.jsonl").write_text('{"antithesis_sdk": {}}\n{"antithesis_setup": {}}\n')
    observations = observe([tmp_path])
    assert (observations.damage, observations.seen) == ([], {})


def test_the_details_are_of_the_first_failure(tmp_path):
    failures = [line(("first", "always", False, True), number) for number in (4, 2)]
    (tmp_path / "host-1.jsonl").write_text("".join(failures))
    (tmp_path / "host-2.jsonl").write_text(line(("first", "always", False, True), 1))
    seen = observe([tmp_path]).seen["first"]
    assert (seen.failure, seen.failed_in) == ({"number": 4}, tmp_path / "host-1.jsonl")


def test_a_folder_that_is_not_there_was_seen_by_nobody(tmp_path):
    assert observe([tmp_path / "missing"]).files == 0
