"""The declarations: each says what reaches it, each is asserted somewhere, and their page is up to date."""

import ast
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import invariants
from bitexact.reporting import properties
from bitexact.reporting.properties import Observations, declared, observe

ROOT = Path(__file__).resolve().parents[2]
SITUATIONS = ("every run", "a preset", "a resume", "an evaluation", "faults", "a test command")
CLAIMS = ("first", "second", "third")


# ---- what is declared -------------------------------------------------------------------------------------------


def test_there_are_twenty_properties_or_more():
    claims = [one.claim for one in declared()]
    assert len(set(claims)) == len(claims) >= 20


@pytest.mark.parametrize("one", declared(), ids=lambda one: one.function)
def test_a_property_says_what_it_claims_and_why_and_what_reaches_it(one):
    assert one.situation in SITUATIONS
    assert len(one.reached_by) >= 5
    assert len(one.claim.split()) >= 3
    assert len(one.meaning) >= 20
    assert "Reached by" not in one.meaning


def test_there_are_properties_for_every_situation():
    assert {one.situation for one in declared()} == set(SITUATIONS)


def test_a_property_stands_where_it_says():
    source = (ROOT / "invariants.py").read_text().splitlines()
    for one in declared():
        assert one.claim in "".join(source[one.line - 1 : one.line + 4])
        assert callable(getattr(invariants, one.function))


def test_a_property_that_does_not_say_what_reaches_it_is_refused(tmp_path, monkeypatch):
    source = 'def f(where):\n    """It holds."""\n    always(True, "It holds at all times", where)\n'
    path = tmp_path / "invariants.py"
    path.write_text("from antithesis.assertions import always\n" + source)
    monkeypatch.setattr(properties, "_INVARIANTS", path)
    with pytest.raises(ValueError, match="f does not say what reaches it"):
        declared()
    path.write_text(path.read_text().replace("It holds.", "It holds. Reached by faults: a flood."))
    assert [(one.claim, one.situation, one.reached_by) for one in declared()] == [
        ("It holds at all times", "faults", "a flood")
    ]


# ---- where it is asserted ---------------------------------------------------------------------------------------


def product() -> Iterator[Path]:
    """The project's own modules, without the tests and the declarations."""
    yield from (path for path in ROOT.glob("*.py") if path.name != "invariants.py")
    for room in ("bitexact", "pong", "training", "workload"):
        yield from (ROOT / room).rglob("*.py")


def called_invariants() -> set[str]:
    """The functions of `invariants` that the product calls by name."""
    nodes = (node for path in product() for node in ast.walk(ast.parse(path.read_text())))
    functions = (node.func for node in nodes if isinstance(node, ast.Call))
    return {
        function.attr
        for function in functions
        if isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "invariants"
    }


def test_no_property_is_declared_and_never_asserted():
    assert {one.function for one in declared()} - called_invariants() == set()


def test_nothing_is_called_that_is_no_property():
    assert called_invariants() - {one.function for one in declared()} == set()


# ---- the page ---------------------------------------------------------------------------------------------------


def test_the_page_of_properties_is_up_to_date():
    assert (ROOT / "docs" / "properties.md").read_text() == properties.table()


def test_the_pages_table_has_a_row_of_six_cells_for_each_property():
    rows = [line for line in properties.table().splitlines() if line.startswith("| ")][1:]
    assert [row.count("|") for row in rows] == [7] * len(declared())
    assert [row.split(" | ")[1] for row in rows] == [one.claim for one in declared()]


# ---- what was seen ----------------------------------------------------------------------------------------------

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
    seen = observations.seen.get(claim, properties.Seen())
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


@pytest.mark.parametrize("assertion", [{}, {"hit": True}, {"hit": True, "message": "first"}, 5, "text"])
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
