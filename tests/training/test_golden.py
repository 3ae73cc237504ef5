"""Golden digests: what one process computed beforehand without Ray, each commit is held against."""

import json
from pathlib import Path

import pytest
from commands import GOLDEN_SETTINGS, ROOT
from small_runs import Diary, go_on, small_settings, train

from bitexact.cli.exits import BadInput, PropertyFailed
from pong.game import Pong
from training import golden
from training.settings import Settings
from workload import golden as command


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return small_settings(tmp_path / "run", updates=4)


@pytest.fixture
def known(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that holds what the run's first three updates come to, known from a run before."""
    diary = Diary()
    train(small_settings(tmp_path / "before", updates=3), diary)
    path = tmp_path / "golden.json"
    path.write_text(json.dumps({golden.name_of(settings): [line["weights_digest"] for line in diary.metrics]}))
    monkeypatch.setenv(golden.FILE, str(path))
    return path


def test_a_run_that_comes_to_its_golden_digests_goes_on_beyond_them(settings, known):
    assert train(settings).update == 4


def test_an_update_that_does_not_is_not_committed(settings, known):
    found = json.loads(known.read_text())
    digests = found[golden.name_of(settings)]
    digests[2] = digests[2][::-1]
    known.write_text(json.dumps(found))
    diary = Diary()
    with pytest.raises(PropertyFailed, match=r"^property failed: an update has its golden digest \(update 3\)"):
        train(settings, diary)
    assert diary.committed == [1, 2]
    with pytest.raises(PropertyFailed):
        go_on(settings, diary)


def test_another_run_is_not_asked(known, tmp_path):
    assert train(small_settings(tmp_path / "other", seed=3)).update == 6


@pytest.mark.parametrize("text", ["", "[]", '{"a": ', '"text"', "3"])
def test_a_file_that_cannot_be_used_is_one_sentence(settings, known, text):
    known.write_text(text)
    with pytest.raises(BadInput, match=r"holds no golden digests \(\w+\): make it with workload\.golden\.$"):
        train(settings)


def test_a_file_that_is_not_there_is_one_sentence(settings, known):
    known.unlink()
    with pytest.raises(BadInput, match="No such file"):
        train(settings)


def test_what_is_computed_beforehand_is_what_is_recorded():
    settings = Settings(**GOLDEN_SETTINGS)
    (digest,) = golden.compute(settings, 1, Pong())
    told = (ROOT / "tests" / "golden" / "reinforce.txt").read_text()
    assert f"after update 1: {digest[:12]}" in told


def test_each_scenario_is_another_run(tmp_path):
    names = [golden.name_of(one) for one in command.scenarios()]
    assert len(set(names)) == len(names) == len(command.PRESETS) * len(command.SEEDS) * len(command.BATCH_SIZES)
    with pytest.raises(BadInput, match="--updates"):
        command.main([str(tmp_path / "file"), "--updates=0"])
