"""Rules that hold themselves: what review would have to catch. Each is seen to catch a violation planted for it."""

import re
import tomllib
from pathlib import Path

import pytest
import tidy
from commands import ROOT
from packaging.requirements import Requirement
from tidy import BESIDE_THE_WEIGHTS, TO_THE_WEIGHTS, Source, sources

COMMANDS = {"compare", "driver", "evaluate", "plot", "replay", "report", "track"}
# The files at the root that others import, and the first names of what they may import of this project.
GIVEN = {
    "invariants": {"bitexact"},
    "policy": {"bitexact"},
    "pong_actor": {"bitexact", "invariants", "policy", "pong", "training"},
}
LONG_FOR_A_REASON = {"invariants.py"}  # a list: one small function for each property
# Operations that would be banned on the path to the weights, each in the one file where it may be, and why.
IN_ITS_PLACE = {
    "bitexact/determinism/streams.py: np.random": "Philox alone, of which the raw integers are taken",
    "bitexact/determinism/exact_math.py: np.add.reduce": "of more than one column: row by row",
    "policy.py: @": "SciPy's sparse product: row by row, in ascending order",
    "training/ppo.py: @": "the same",
    "pong/game.py: sum()": "of whole numbers",
    "pong/game.py: **": "of whole numbers",
    "training/update.py: sum()": "of whole numbers, to be shown",
    "training/loop.py: sum()": "of whole numbers, to be shown",
    "training/recorder.py: sum()": "of rewards, which are whole",
    "training/rollout_record.py: .sum()": "of rewards, which are whole",
    "training/rollout_record.py: np.log": "in the loss, which is shown and not learned from",
}


def test_a_function_fits_on_a_screen():
    assert not [found for source in sources(ROOT) for found in tidy.long_functions(source)]


def test_a_module_holds_one_thing():
    short = [source for source in sources(ROOT) if source.path not in LONG_FOR_A_REASON]
    assert not [found for source in short for found in tidy.is_long(source)]


def test_nothing_lies_about():
    assert not tidy.unused(sources(ROOT))


def test_what_moves_bits_is_not_on_the_path_to_the_weights():
    rooms = [source for source in sources(ROOT) if source.path.startswith(TO_THE_WEIGHTS)]
    on_the_path = [source for source in rooms if source.path not in BESIDE_THE_WEIGHTS]
    found = dict(finding for source in on_the_path for finding in tidy.banned(source))
    assert not [sentence for place, sentence in found.items() if place not in IN_ITS_PLACE]
    assert not IN_ITS_PLACE.keys() - found.keys(), "no longer there"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_command_imports_no_other(name):
    assert not tidy.imports(of_root(name)) & COMMANDS


@pytest.mark.parametrize("name", GIVEN)
def test_the_given_files_import_downwards(name):
    own = {*COMMANDS, *GIVEN, *tidy.ROOMS, "tests"}
    assert {module.partition(".")[0] for module in tidy.imports(of_root(name))} & own <= GIVEN[name]


def test_the_root_holds_commands_and_given_names_alone():
    assert {source.module for source in sources(ROOT) if "/" not in source.path} == {*COMMANDS, *GIVEN}


def of_root(name: str) -> Source:
    return next(source for source in sources(ROOT) if source.module == name)


# ---- pinned versions are of the ranges ------------------------------------------------------------------------------


def test_what_is_pinned_is_what_the_package_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    everywhere = pins(ROOT / "requirements.txt")
    assert everywhere == satisfied(project["dependencies"], ROOT / "requirements.txt")
    for name, extra in project["optional-dependencies"].items():
        path = ROOT / f"requirements-{name}.txt"
        own = {package: version for package, version in pins(path).items() if everywhere.get(package) != version}
        assert own == satisfied(extra, path), name


def pins(path: Path) -> dict[str, str]:
    """What a file pins, by name with extras."""
    return dict(re.findall(r"^([\w.\[\],-]+)==(\S+)", path.read_text(), re.MULTILINE))


def satisfied(ranges: list[str], path: Path) -> dict[str, str]:
    """Those of a file's pins that are within a range."""
    wanted = [Requirement(text) for text in ranges]
    names = {f"{one.name}[{','.join(sorted(one.extras))}]" if one.extras else one.name: one for one in wanted}
    found = pins(path)
    return {name: found[name] for name, one in names.items() if one.specifier.contains(found.get(name, "0"))}


# ---- planted violations ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("np.exp(x)", "np.exp"),
        ("np.add.reduce(x, axis=0)", "np.add.reduce"),
        ("numpy.log(x)", "np.log"),
        ("np.power(x, 2)", "np.power"),
        ("np.dot(a, b)", "np.dot"),
        ("a.dot(b)", ".dot()"),
        ("np.einsum('i,i', a, b)", "np.einsum"),
        ("np.mean(a)", "np.mean"),
        ("a.mean()", ".mean()"),
        ("(a - b).std()", ".std()"),
        ("np.linalg.norm(a)", "np.linalg"),
        ("np.random.default_rng(0)", "np.random"),
        ("math.exp(x)", "math.exp"),
        ("math.pow(x, 2)", "math.pow"),
        ("from math import exp", "from math"),
        ("discount**k", "**"),
        ("2.0**k", "**"),
        ("pow(x, k)", "**"),
        ("sum(losses)", "sum()"),
        ("np.sum(a)", ".sum()"),
        ("a.sum()", ".sum()"),
        ("a @ b", "@"),
    ],
)
def test_a_banned_operation_is_found_where_it_is(line, what):
    planted = Source("training/planted.py", f"class Batch:\n    def learn(self):\n        {line}\n")
    ((place, sentence),) = tidy.banned(planted)
    assert place == f"training/planted.py: {what}"
    assert sentence.startswith("training/planted.py:3 Batch.learn: ")
    assert ": use " in sentence


def test_what_is_exact_is_allowed():
    exact = ("2.0**-53", "math.sqrt(x)", "math.fsum(a) / n", "np.add.accumulate(a)", "np.sqrt(a)", "(a > 0).sum()")
    assert not tidy.banned(Source("training/planted.py", "\n".join(exact)))


def test_a_long_function_is_found():
    body = "\n".join("        x = 1" for _ in range(tidy.LONGEST_FUNCTION))
    found = tidy.long_functions(Source("planted.py", f"class A:\n    def f(self):\n{body}\n\n    def g(self): ...\n"))
    assert found == ["planted.py:2 A.f has 61 lines: split it, at most 60"]


def test_a_long_module_is_found():
    assert tidy.is_long(Source("planted.py", "x = 1\n" * 301))
    assert not tidy.is_long(Source("planted.py", "x = 1\n" * 300))


def test_a_file_that_nobody_uses_is_found():
    program = Source("program.py", "import room.used\nRUN = 'named'\nif __name__ == '__main__': ...\n")
    used = Source("room/used.py", "from room import below\nMODULES = ['by_name']\n")
    rest = [Source(f"room/{name}.py", "") for name in ("below", "by_name", "alone")]
    assert tidy.unused((program, used, *rest)) == ["room/alone.py is imported by no file and is no program: delete it"]
