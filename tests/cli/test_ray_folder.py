"""The folder of a Ray inside a program: private, short, and found wherever there is one."""

import os
from pathlib import Path

import pytest
from commands import digests_without_ray, finished, recorded_digests

from bitexact.cli import process_environment, ray_folder
from bitexact.cli.exits import BadInput
from bitexact.cli.ray_folder import private_folder

NAME = f"ray-{os.getuid()}"


@pytest.fixture
def bases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two folders that may hold it, of any length."""
    found = [tmp_path / "first", tmp_path / "second"]
    for base in found:
        base.mkdir()
    monkeypatch.setattr(ray_folder, "_LONGEST", 200)
    monkeypatch.setattr(ray_folder, "_ELSEWHERE", (str(found[1]),))
    monkeypatch.setenv("RAY_TMPDIR", str(found[0]))
    monkeypatch.delenv("TMPDIR", raising=False)
    return found


def test_only_its_user_enters_it(bases):
    assert private_folder() == bases[0] / NAME
    assert (bases[0] / NAME).stat().st_mode & 0o777 == 0o700


def test_what_a_parent_named_is_taken_as_it_is(bases, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(private_folder()))
    assert private_folder() == bases[0] / NAME


def test_one_that_others_can_enter_is_not_taken(bases):
    (bases[0] / NAME).mkdir(mode=0o755)
    assert private_folder() == bases[1] / NAME


def test_a_link_is_not_followed(bases, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (bases[0] / NAME).symlink_to(tmp_path / "elsewhere")
    assert private_folder() == bases[1] / NAME


def test_a_file_in_its_place_is_passed_over(bases):
    bases[0].rmdir()
    bases[0].touch()
    assert private_folder() == bases[1] / NAME


def test_where_there_is_none_it_is_one_sentence(bases, monkeypatch):
    monkeypatch.setattr(ray_folder, "_LONGEST", 5)
    with pytest.raises(BadInput, match="RAY_TMPDIR"):
        private_folder()


def test_a_token_of_the_users_is_left_alone(bases, monkeypatch):
    monkeypatch.setattr(os, "environ", {"RAY_TMPDIR": str(bases[0]), "RAY_AUTH_TOKEN": "mine"})
    process_environment.prepare_ray(embedded=True)
    assert os.environ["RAY_AUTH_TOKEN"] == "mine"


@pytest.mark.slow
@pytest.mark.parametrize("home", ["not there", "holds a file called .ray"])
def test_it_trains_whatever_its_home_and_switches_and_in_a_long_folder_for_temporary_files(tmp_path, home):
    longest = tmp_path / ("x" * 150)
    longest.mkdir()
    if home != "not there":
        (tmp_path / home).mkdir()
        (tmp_path / home / ".ray").touch()
    done = finished(
        f"--run-dir={tmp_path / 'run'}", "--updates=1", "--batch-size=2", "--hidden-units=2", "--actors=1",
        TMPDIR=str(longest), HOME=str(tmp_path / home), PYTHONOPTIMIZE="2", PYTHONWARNINGS="error",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert recorded_digests(tmp_path / "run") == digests_without_ray(1, batch_size=2, hidden_units=2)
    assert not (tmp_path / "not there").exists()
