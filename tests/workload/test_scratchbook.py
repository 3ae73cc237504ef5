"""The scratchbook under deploy/ keeps in step with what is declared, and names evidence that is there."""

import re

from commands import ROOT
from planted import fault_bugs

from bitexact.reporting import catalog

BOOK = ROOT / "deploy" / "scratchbook"
CATALOG = (BOOK / "property-catalog.md").read_text()
ENTRIES = dict(re.findall(r"^### ([a-z0-9-]+) — (.+)$", CATALOG, re.MULTILINE))
GUARDS = re.findall(r"^\| ([^|*]+) \| [^|]+ \|$", CATALOG.partition("## Guards")[2], re.MULTILINE)[1:]
EVIDENCE = {path.stem: path.read_text() for path in (BOOK / "properties").iterdir()}


def test_each_declared_property_is_an_entry_or_a_guard():
    declared = {one.claim for one in catalog.read(ROOT / "invariants.py").properties}
    assert sorted(declared) == sorted([*ENTRIES.values(), *GUARDS])
    assert len(ENTRIES) >= 24


def test_each_entry_says_how_it_is_asserted():
    declared = {one.claim: one for one in catalog.read(ROOT / "invariants.py").properties}
    for claim in ENTRIES.values():
        one = declared[claim]
        assert f"`{one.kind.lower()}` in `{one.function}`: {one.meaning}" in CATALOG


def test_each_entry_has_its_evidence():
    assert EVIDENCE.keys() == ENTRIES.keys()
    for text in EVIDENCE.values():
        named = re.findall(r"(tests/[a-z_/]+\.py)::(test_\w+)", text)
        assert all(f"def {test}(" in (ROOT / path).read_text() for path, test in named)
        assert set(re.findall(r"fault_bugs\.py: ([a-z-]+)", text)) <= fault_bugs.BUGS.keys()
        sites = (ROOT / "tests" / "planted" / "sitecustomize.py").read_text()
        assert all(f'"{bug}": (' in sites for bug in re.findall(r"sitecustomize\.py: ([a-z-]+)", text))
        assert "## Seen to fail" in text


def test_each_property_belongs_somewhere():
    related = (BOOK / "property-relationships.md").read_text()
    named = [
        slug.strip() for line in re.findall(r"^Properties: (.+)$", related, re.MULTILINE) for slug in line.split(",")
    ]
    assert sorted(named) == sorted(ENTRIES)
