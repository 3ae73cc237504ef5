"""The digests of source files: of those that a process would import, wherever they lie."""

import subprocess
import sys
from pathlib import Path

from bitexact.determinism import code, process


def test_a_file_is_named_by_its_module_and_its_bytes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "some_game.py").write_text("SPEED = 1")
    before = code.digests(["some_game", "no_such_game"])
    assert before == {"some_game": before["some_game"], "no_such_game": code.MISSING}
    assert not code.difference(code.digests(before), before)
    (tmp_path / "some_game.py").write_text("SPEED = 2")
    assert code.difference(code.digests(before), before) == "some_game"
    assert code.folder_of("some_game") == str(tmp_path)


def test_a_module_that_only_one_has_is_a_difference():
    assert code.difference({"a": "1"}, {"a": "1", "b": "2"}) == "b"
    assert code.difference({"a": "1", "b": "2"}, {"a": "1"}) == "b"


def test_all_of_a_package_is_found():
    assert {"bitexact.determinism.streams", "bitexact.determinism.tree_sum"} <= set(
        code.modules_of("bitexact.determinism")
    )


def test_a_process_that_imports_other_files_is_no_match(tmp_path):
    """As where a command is started in a folder that holds another checkout's files."""
    expected = process.describe(modules=["policy"])
    assert not process.describe(modules=["policy"]).mismatch(expected)
    (tmp_path / "policy.py").write_text("UNITS = 3")
    program = (
        "import sys; sys.path.append(sys.argv[1]); from bitexact.determinism import process; "
        "print(process.describe(modules=['policy']).code['policy'], process.describe(modules=['policy']).folder)"
    )
    root = Path(__file__).parents[2]
    asked = subprocess.run([sys.executable, "-c", program, str(root)], cwd=tmp_path, capture_output=True, text=True)
    digest, folder = asked.stdout.split()
    assert digest != expected.code["policy"]
    assert folder == str(tmp_path)


def test_another_architecture_is_no_match():
    here = process.describe([])
    there = process.ProcessInfo(**{**vars(here), "machine": "aarch64"})
    assert there.mismatch(here) == f"its processor is aarch64, not {here.machine}"
