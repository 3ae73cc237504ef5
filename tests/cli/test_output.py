"""How every command ends whose output nobody reads or whose disk is full, and what becomes of exceptions of our own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT

from bitexact.cli.properties_file import PropertiesFile

SAYS_MUCH = "[print('x' * 99) for _ in range(5000)]"


def ended(tmp_path: Path, body: str, redirection: str) -> tuple[int, str]:
    """A command with this body, run by a shell with a redirection: its exit code and standard error."""
    program = tmp_path / "command.py"
    program.write_text(f"from bitexact.cli import exits\n\ndef main(arguments):\n    {body}\n\nexits.run(main)\n")
    line = f'exec 3>&1; {{ "{sys.executable}" "{program}"; echo $? >&3; }} {redirection}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    return int(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize("body", [SAYS_MUCH, "print('a little')"])
@pytest.mark.parametrize(
    ("redirection", "code", "word"),
    [
        ("> /dev/full", 4, "No space left on device"),
        (">&-", 4, "closed"),
        ("| (exec <&-; sleep 3)", 141, "nobody reads"),
    ],
)
def test_output_that_cannot_be_written_is_one_sentence(tmp_path, body, redirection, code, word):
    body = body if "|" not in redirection else f"import time; time.sleep(1); {body}"
    found, err = ended(tmp_path, body, redirection)
    assert found == code
    assert (err.count("\n"), err.startswith("command.py: "), err.endswith(".\n")) == (1, True, True), err
    assert word in err


@pytest.mark.parametrize("redirection", ["2> /dev/full", "2>&-"])
def test_nobody_is_told_where_standard_error_cannot_be_written(tmp_path, redirection):
    assert ended(tmp_path, "raise exits.BadInput('no.')", redirection) == (2, "")


def test_a_name_that_is_no_utf_8_can_be_printed(tmp_path):
    assert ended(tmp_path, "print(chr(0xdcff))", f"> {tmp_path}/out") == (0, "")
    assert (tmp_path / "out").read_text() == "\\udcff\n"


def test_a_folder_that_is_gone_is_one_sentence(tmp_path):
    gone = tmp_path / "gone"
    line = f'mkdir -p "{gone}"; cd "{gone}"; rmdir "{gone}"; "{sys.executable}" "{ROOT / "compare.py"}" a b'
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "compare.py: the current folder is gone: change to one that is there.\n"


def test_an_exception_of_our_own_is_6_with_its_traceback_in_a_file(tmp_path):
    code, err = ended(tmp_path, "{}['key']", "")
    assert code == 6
    assert err.startswith("command.py: a bug in this program (KeyError: 'key'); its traceback is in ")
    assert err.endswith("report it, as CONTRIBUTING.md says.\n")
    (file,) = tmp_path.glob("*-traceback.txt")
    assert str(file) in err
    assert "Traceback (most recent call last)" in file.read_text()


# ---- the SDK's file -------------------------------------------------------------------------------------------------


def test_a_line_that_a_full_disk_refuses_is_left_out_and_the_files_name_says_so(tmp_path, monkeypatch):
    file = PropertiesFile(tmp_path / "host-1.jsonl")
    file.write(b'{"antithesis_assert": 1}\n')
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:3]))
    assert file.write(b'{"antithesis_assert": 2}\n') == 25
    monkeypatch.setattr(os, "write", refuse)
    file.write(b'{"antithesis_assert": 3}\n')
    monkeypatch.setattr(os, "write", write)
    file.write(b'{"antithesis_assert": 4}\n')
    assert [path.name for path in tmp_path.iterdir()] == ["host-1.incomplete.jsonl"]
    assert (tmp_path / "host-1.incomplete.jsonl").read_bytes() == (
        b'{"antithesis_assert": 1}\n{"antithesis_assert": 4}\n'
    )


def test_what_happens_in_each_update_does_not_make_the_file_grow(tmp_path):
    file = PropertiesFile(tmp_path / "host-1.jsonl")
    assert file.write(b'{"update_committed": {"update": 1}}\n') == 36
    assert (tmp_path / "host-1.jsonl").read_bytes() == b""


def refuse(*_: object) -> int:
    raise OSError(28, "No space left on device")
