"""Training inside a model's dream: the trainer's own loop, with its own packages, on another game."""

import json
import pickle
import shutil
import signal
from pathlib import Path

import pytest
import tidy
from commands import ROOT, digests_without_ray, finished, recorded_digests, running
from small_runs import Diary, train

from bitexact.cli.exits import BadInput
from bitexact.determinism.arrays import Arrays
from bitexact.storage import config
from bitexact.storage.run_directory import open_for_writing
from pong import games
from pong.play import RolloutId
from training import deciding_code
from training.replayer import Replayer
from training.rollout_record import RolloutRecord
from training.rollout_task import task_of
from training.run_config import opening
from training.settings import Settings, read_settings

MODEL = ROOT / "pretrained" / "atari-rnn"
SMALL = {"preset": "reinforce", "batch_size": 2, "hidden_units": 8, "seed": 3}
SHORT = SMALL | {"seed": 4, "learning_rate": 1e-3}
# Of SHORT, games cut off after 200 steps: no processor, no version of NumPy and no other use of the game may change it.
DIGEST = "0d86d53de37bc7844081055a3f9c5e609fc8b9b424b7aeeb02dfa48a251d2706"


@pytest.fixture
def short_games(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pong.game.MAX_STEPS", 200)


def begun(directory: Path, **changes: object) -> Path:
    """A run that was opened, and nothing more."""
    with open_for_writing(opening(Settings(run_dir=directory, **SMALL, **changes)), print):
        return directory


def another_model(folder: Path) -> Path:
    """The same in all but one clock: another dream."""
    shutil.copytree(MODEL, folder)
    said = json.loads((folder / "model.json").read_text())
    said["layout"]["first_to"] = 20
    (folder / "model.json").write_text(json.dumps(said))
    return folder


def test_an_update_is_a_function_of_the_model_too(short_games: None) -> None:
    in_the_dream, in_the_real_game = (
        digests_without_ray(1, **SHORT, train_inside=inside) for inside in (str(MODEL), None)
    )
    assert in_the_dream[0].weights == DIGEST
    assert in_the_real_game[0].weights != DIGEST


def test_what_makes_the_game_travels_with_all_that_it_is_made_of(tmp_path: Path) -> None:
    model = shutil.copytree(MODEL, tmp_path / "model")
    sent = pickle.dumps(games.choose(str(model)).make)
    shutil.rmtree(model)
    game = pickle.loads(sent)()
    here = games.choose(str(MODEL)).make()
    for one in (game, here):
        one.reset(seed=1, options={"update": 2, "index": 3})
    for step in range(60):
        assert game.advance(step // 9 % 2) == here.advance(step // 9 % 2)
    assert (game.picture() == here.picture()).all()


def test_the_files_of_the_dream_decide_and_nothing_is_imported_that_the_trainer_lacks() -> None:
    files = {source.module: source for source in tidy.sources(ROOT)}
    found, new = set(), {games.DREAMS}
    while new:
        found |= new
        new = {name for one in new for name in tidy.imports(files[one]) if name.startswith("world_model.")}
        new = (new & files.keys()) - found
    chosen = games.choose(str(MODEL))
    assert set(chosen.modules) == found
    assert deciding_code.at_start(*chosen.modules).keys() == deciding_code.at_start().keys() | found


def test_the_trainers_rooms_name_the_dream_in_one_place() -> None:
    rooms = ("training/", "pong/", "bitexact/", "driver.py", "pong_actor.py", "policy.py", "invariants.py")
    naming = {one.path for one in tidy.sources(ROOT) if one.path.startswith(rooms) and '"world_model' in one.text}
    assert naming == {"pong/games.py"}


def test_a_run_in_the_real_game_says_nothing_of_it(tmp_path: Path) -> None:
    said = config.read(begun(tmp_path / "run"))
    assert "game" not in said
    assert "train_inside" not in said["settings"]


def test_a_run_goes_on_with_its_own_model_wherever_that_lies_now(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", train_inside=str(MODEL))
    assert read_settings(run).train_inside == str(MODEL)
    assert config.read(run)["game"] == games.choose(str(MODEL)).digest
    moved = shutil.copytree(MODEL, tmp_path / "moved")
    begun(run, train_inside=str(moved), resume=True)
    assert read_settings(run).train_inside == str(moved)


def test_another_game_is_refused_in_one_sentence(tmp_path: Path) -> None:
    run = begun(tmp_path / "run", train_inside=str(MODEL))
    real = begun(tmp_path / "real")
    other = str(another_model(tmp_path / "other"))
    for directory, inside in ((run, other), (run, None), (real, str(MODEL))):
        with pytest.raises(BadInput, match=r"was made in .* choose another --run-dir"):
            begun(directory, train_inside=inside, resume=True)
    said = json.loads((run / "config.json").read_text())
    said["settings"]["train_inside"] = other
    (run / "config.json").write_text(json.dumps(said))
    with pytest.raises(BadInput, match="was made in"):
        Replayer(run, print)


@pytest.mark.parametrize("folder", ["nowhere", str(ROOT / "pretrained" / "table-rnn"), str(ROOT / "driver.py")])
def test_what_is_no_model_of_this_game_is_refused_and_nothing_is_left(tmp_path: Path, folder: str) -> None:
    with pytest.raises(BadInput):
        begun(tmp_path / "run", train_inside=folder)
    assert not (tmp_path / "run").exists()


def test_where_the_learned_game_is_not_installed_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(games, "DREAMS", "world_model.no_such_module")
    with pytest.raises(BadInput, match="no_such_module is missing"):
        games.choose("asked for the first time")


def test_a_replay_plays_the_dream(short_games: None, tmp_path: Path) -> None:
    settings = Settings(**SHORT, train_inside=str(MODEL), run_dir=tmp_path / "run", updates=1)
    game = settings.game().make()

    def rollout(settings: Settings, weights: Arrays, update: int, index: int) -> tuple[Arrays, RolloutRecord]:
        return task_of(settings).run(game, weights, RolloutId(settings.seed, update, index))

    train(settings, Diary(), rollout=rollout)
    assert DIGEST in Replayer(tmp_path / "run", print).everything()


@pytest.mark.slow
def test_on_ray_killed_and_resumed_gives_what_one_process_gives(tmp_path: Path) -> None:
    settings = {**SMALL, "learning_rate": 1e-3, "train_inside": str(MODEL)}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
    run = tmp_path / "run"
    with running(*flags, "--actors=2", f"--run-dir={run}", "--checkpoint-every=1") as driver:
        driver.wait_for_update(1)
        driver.send(signal.SIGKILL)
        driver.wait()
    done = finished("--resume", "--updates=2", "--actors=1", f"--run-dir={run}")
    assert done.returncode == 0, done.stderr
    assert recorded_digests(run) == digests_without_ray(len(recorded_digests(run)), **settings)
