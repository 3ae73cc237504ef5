"""The declarations: each says what reaches it, each is asserted somewhere, and their page is up to date."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import invariants
from bitexact.reporting import catalog, guards
from bitexact.reporting.guards import SITUATIONS

ROOT = Path(__file__).resolve().parents[2]
CATALOG = catalog.read(ROOT / "invariants.py")
DECLARED = CATALOG.properties


# ---- what is declared -------------------------------------------------------------------------------------------


def test_there_are_twenty_properties_or_more():
    claims = [one.claim for one in DECLARED]
    assert len(set(claims)) == len(claims) >= 20


@pytest.mark.parametrize("one", DECLARED, ids=lambda one: one.function)
def test_a_property_says_what_it_claims_and_why_and_what_reaches_it(one):
    assert one.situation in SITUATIONS
    assert len(one.reached_by) >= 5
    assert len(one.claim.split()) >= 3
    assert len(one.meaning) >= 20


def test_there_are_properties_for_every_situation():
    assert {one.situation for one in DECLARED} == set(SITUATIONS)


def test_a_property_stands_where_it_says():
    source = (ROOT / "invariants.py").read_text().splitlines()
    for one in DECLARED:
        assert one.claim in "".join(source[one.line - 1 : one.line + 4])
        assert callable(getattr(invariants, one.function))


SOURCE = """
from bitexact.reporting.guards import reached_by
REPRODUCED_BY = ("look {run}",)
@reached_by("faults: a flood")
def f(where):
    '''It holds.'''
    always(True, "It holds at all times", where)
"""


def of_source(folder: Path, source: str) -> list[catalog.Catalog]:
    system = folder / "a_system"
    system.mkdir()
    (system / "invariants.py").write_text("from antithesis.assertions import always\n" + source)
    return catalog.find(folder)


def test_a_system_in_a_folder_of_its_own_is_found(tmp_path):
    (found,) = of_source(tmp_path, SOURCE)
    assert found.file == "a_system/invariants.py"
    assert found.reproduced_by == ("look {run}",)
    (one,) = found.properties
    assert (one.claim, one.situation, one.reached_by) == ("It holds at all times", "faults", "a flood")
    assert one.meaning == "It holds."


def test_a_property_that_does_not_say_what_reaches_it_is_refused(tmp_path):
    with pytest.raises(ValueError, match="f does not say what reaches it"):
        of_source(tmp_path, SOURCE.replace('@reached_by("faults: a flood")', ""))


@pytest.mark.parametrize("what", ["sometimes: a flood", "faults", "faults: "])
def test_what_reaches_a_property_is_of_a_known_kind(tmp_path, what):
    with pytest.raises(ValueError, match="does not say what reaches it"):
        guards.reached_by(what)
    with pytest.raises(ValueError, match="does not say what reaches it"):
        of_source(tmp_path, SOURCE.replace("faults: a flood", what))


def test_a_file_of_another_package_is_no_catalog(tmp_path):
    assert of_source(tmp_path, SOURCE.replace("bitexact.reporting.guards", "elsewhere")) == []


def test_no_two_systems_make_the_same_claim():
    systems = catalog.find()
    claims = [one.claim for system in systems for one in system.properties]
    assert len(systems) >= 2
    assert len(set(claims)) == len(claims)


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
    assert {one.function for one in DECLARED} - called_invariants() == set()


def test_nothing_is_called_that_is_no_property_but_what_tells_events():
    assert called_invariants() - {one.function for one in DECLARED} == {"it_happens"}


# ---- the page ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declarations", "page"),
    [("invariants.py", "properties.md"), ("rllib_worker/invariants.py", "rllib-worker-properties.md")],
)
def test_the_page_of_properties_is_up_to_date(declarations, page):
    assert (ROOT / "docs" / page).read_text() == catalog.table(catalog.read(ROOT / declarations))


def test_the_pages_table_has_a_row_of_six_cells_for_each_property():
    rows = [line for line in catalog.table(CATALOG).splitlines() if line.startswith("| ")][1:]
    assert [row.count("|") for row in rows] == [7] * len(DECLARED)
    assert [row.split(" | ")[1] for row in rows] == [one.claim for one in DECLARED]
