"""The command line: every setting in it, and for whatever cannot be used one sentence, code 2, and nothing touched."""

import dataclasses
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from commands import ROOT, assert_one_sentence, closed_port, contents, finished, silent_port

import driver
from bitexact.cli import exits
from bitexact.cli.exits import BadInput
from bitexact.cluster import ray_session
from bitexact.determinism import versions
from bitexact.storage import config
from bitexact.storage.run_directory import open_for_writing
from training import initial_state
from training.run_config import opening
from training.settings import DECIDE_THE_RESULT, Settings, from_command_line, of_preset, read_settings

# flag: its field, a value as it is typed, and what it then is
FLAGS = {
    "--batch-size": ("batch_size", "3", 3),
    "--updates": ("updates", "7", 7),
    "--until-reward": ("until_reward", "-3.5", -3.5),
    "--seed": ("seed", "9223372036854775807", 2**63 - 1),
    "--actors": ("actors", "5", 5),
    "--learning-rate": ("learning_rate", "1e-4", 1e-4),
    "--discount": ("discount", "0.9", 0.9),
    "--decay-rate": ("decay_rate", "0.5", 0.5),
    "--hidden-units": ("hidden_units", "16", 16),
    "--preset": ("preset", "reinforce", "reinforce"),
    "--learning-rate-end": ("learning_rate_end", "1e-5", 1e-5),
    "--entropy-coef": ("entropy_coef", "0.02", 0.02),
    "--entropy-coef-end": ("entropy_coef_end", "0", 0.0),
    "--temperature-end": ("temperature_end", "0.5", 0.5),
    "--anneal-updates": ("anneal_updates", "120", 120),
    "--epochs": ("epochs", "3", 3),
    "--minibatch-size": ("minibatch_size", "2048", 2048),
    "--clip": ("clip", "0.1", 0.1),
    "--gae-lambda": ("gae_lambda", "0.9", 0.9),
    "--value-coef": ("value_coef", "1", 1.0),
    "--max-grad-norm": ("max_grad_norm", "1", 1.0),
    "--init-weights": ("init_weights", "some/weights.npz", Path("some/weights.npz")),
    "--sticky-actions": ("sticky_actions", "0", 0.0),
    "--train-inside": ("train_inside", "some/model", "some/model"),
    "--run-dir": ("run_dir", "some/where else", Path("some/where else")),
    "--checkpoint-every": ("checkpoint_every", "4", 4),
    "--keep-checkpoints": ("keep_checkpoints", "2", 2),
    "--rollout-timeout-s": ("rollout_timeout_s", "30", 30.0),
    "--rollout-attempts": ("rollout_attempts", "5", 5),
    "--cluster-timeout-s": ("cluster_timeout_s", "60", 60.0),
    "--video-every": ("video_every", "50", 50),
    "--mlflow": ("mlflow", "http://localhost:5000", "http://localhost:5000"),
    "--address": ("address", "head:6379", "head:6379"),
    "--redis-address": ("address", "head:6379", "head:6379"),
}
PRESET_OF = {"decay_rate": "reinforce"}
SWITCHES = {"--resume", "--overwrite", "--accept-new-code", "--tensorboard"}
SMALL = {"batch_size": 2, "hidden_units": 2, "updates": 3}


class End(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., End]]:
    """Runs driver.py's main in this process and says how it ended; for command lines that end before Ray starts."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str) -> End:
        monkeypatch.setattr(sys, "argv", ["driver.py", *arguments])
        with pytest.raises(SystemExit) as end:
            exits.run(driver.main)
        return End(end.value.code or 0, *capsys.readouterr())

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run that was begun, with a ledger and a checkpoint by name."""
    directory = tmp_path / "run"
    with open_for_writing(opening(Settings(run_dir=directory, **SMALL)), lambda _: None):
        (directory / "metrics.jsonl").write_text('{"update": 1, "weights_digest": "00"}\n')
        (directory / "checkpoints").mkdir()
        (directory / "checkpoints" / "update-00000001.npz").write_bytes(b"weights")
    return directory


def assert_refused(end: End, *words: str) -> None:
    assert end.code == 2
    assert_one_sentence(end.code, end.err, *words)


# ---- what can be set ----------------------------------------------------------------------------------------------


def help_by_flag(text: str) -> dict[str, str]:
    texts: dict[str, str] = {}
    for row in text.splitlines():
        option = re.match(r"[│ ]*(--[a-z][a-z-]+)( [A-Z]+| {[a-z,]+})?(  .*|$)", row.rstrip("│ "))
        if option:
            texts[option[1]] = option[3].strip()
        elif texts and row.strip("│╰─╯- "):
            texts[list(texts)[-1]] += row.strip("│ ")
    return texts


def test_help_has_a_line_for_each_setting(ends, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    end = ends("--help")
    assert (end.code, end.err) == (0, "")
    texts = help_by_flag(end.out)
    assert texts.keys() == FLAGS.keys() | SWITCHES
    for flag, text in texts.items():
        assert re.fullmatch(r"[A-Z][^\n]+\.( \(default: [^\n]*\))", text), (flag, text)


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_complaint_is_whole_where_lines_cannot_be_drawn(encoding):
    done = finished("--no-such-flag=3", PYTHONIOENCODING=encoding, COLUMNS="40")
    assert_refused(End(done.returncode, done.stdout, done.stderr), "Unrecognized options: --no-such-flag=3.")


def test_every_setting_has_a_flag():
    assert {name for name, _, _ in FLAGS.values()} | {
        "resume",
        "overwrite",
        "accept_new_code",
        "tensorboard",
        "redis_address",
    } == {field.name for field in dataclasses.fields(Settings)}


@pytest.mark.parametrize("flag", FLAGS)
def test_a_value_follows_its_flag_or_an_equals_sign(flag):
    name, typed, value = FLAGS[flag]
    preset = PRESET_OF.get(name, "ppo")
    joined = from_command_line([f"--preset={preset}", f"{flag}={typed}"])
    assert getattr(joined, name) == value
    assert joined == from_command_line([f"--preset={preset}", flag, typed])
    assert joined == of_preset(value if name == "preset" else preset, **({} if name == "preset" else {name: value}))


@pytest.mark.parametrize("arguments", [["--preset=classic"], ["--preset", "classic"]])
def test_classic_is_another_name_for_reinforce(arguments):
    assert from_command_line([*arguments, "--seed=5"]) == of_preset("reinforce", seed=5)


def test_a_value_that_is_called_as_a_preset_was_stays_itself():
    assert from_command_line(["--run-dir=classic", "--init-weights", "proximal"]) == Settings(
        run_dir=Path("classic"), init_weights=Path("proximal")
    )


def test_settings_can_be_read_before_the_environment_is_prepared():
    """Antithesis' SDK decides where it writes when it is first imported: not yet."""
    program = "import sys, training.run_config; sys.exit('antithesis' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False, timeout=60).returncode == 0


def test_the_old_name_of_the_address_works_and_says_what_replaced_it(capsys):
    settings = from_command_line(["--redis-address=head:6379"])
    assert settings.address == "head:6379"
    assert "--address" in capsys.readouterr().out


def test_the_default_run_directory_is_named_after_the_settings_that_decide_the_result():
    changes = {name: value for name, _, value in FLAGS.values() if name in DECIDE_THE_RESULT}
    assert changes.keys() == set(DECIDE_THE_RESULT)
    presets = {name: PRESET_OF.get(name, "ppo") for name in changes}
    of_presets = {of_preset("reinforce").directory}
    one_changed = {
        of_preset(presets[name], **{name: value}).directory for name, value in changes.items() if name != "preset"
    }
    one_changed |= of_presets
    assert Settings().directory == Path("runs/pong-seed0-batch10")
    assert len(one_changed | {Settings().directory}) == len(changes) + 1
    assert all(directory.parent == Path("runs") for directory in one_changed)


def test_nothing_else_names_the_default_run_directory(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 0.0)
    names = (*DECIDE_THE_RESULT, "train_inside", "init_weights", "run_dir")
    others = [flag for flag, (name, _, _) in FLAGS.items() if name not in names]
    for flag in others:
        assert from_command_line([f"{flag}={FLAGS[flag][1]}"]).directory == Settings().directory


# ---- what a resumed run takes over --------------------------------------------------------------------------------


def test_a_resumed_run_takes_what_is_left_out_from_its_config(tmp_path):
    given = Settings(
        batch_size=2,
        hidden_units=2,
        seed=5,
        learning_rate=0.01,
        updates=3,
        actors=4,
        checkpoint_every=7,
        address="head:1",
        run_dir=tmp_path / "run",
    )
    (tmp_path / "run").mkdir()
    config.write(given.directory, {"settings": given.lasting()}, initial_state.from_seed(given).digest())
    assert from_command_line(["--resume", f"--run-dir={tmp_path / 'run'}"]) == dataclasses.replace(given, resume=True)


@pytest.mark.parametrize(
    ("argument", "name", "value"),
    [
        ("--actors=7", "actors", 7),
        ("--address=head:6379", "address", "head:6379"),
        ("--updates=9", "updates", 9),
        ("--updates=None", "updates", None),
        ("--checkpoint-every=1", "checkpoint_every", 1),
        ("--batch-size=2", "batch_size", 2),
    ],
)
def test_what_does_not_decide_the_result_may_change_at_a_resume(run_dir, argument, name, value):
    settings = from_command_line(["--resume", f"--run-dir={run_dir}", argument])
    assert getattr(settings, name) == value
    assert settings.deciding() == Settings(**SMALL).deciding()


def test_what_changed_at_a_resume_is_recorded(run_dir):
    settings = from_command_line(["--resume", f"--run-dir={run_dir}", "--updates=9"])
    with open_for_writing(opening(settings), lambda _: None):
        pass
    assert from_command_line(["--resume", f"--run-dir={run_dir}"]).updates == 9


@pytest.mark.parametrize("name", Settings(**SMALL).deciding())
def test_what_decides_the_result_may_not_change_at_a_resume(run_dir, ends, name):
    flag = f"--{name.replace('_', '-')}"
    before, typed = getattr(Settings(**SMALL), name), FLAGS[flag][1]
    untouched = contents(run_dir)
    end = ends("--resume", f"--run-dir={run_dir}", f"{flag}={typed}")
    assert_refused(end, flag, str(before), str(FLAGS[flag][2]), str(run_dir))
    assert contents(run_dir) == untouched


def test_another_package_version_is_named(run_dir, ends):
    path = run_dir / "config.json"
    config = json.loads(path.read_text())
    config["versions"]["numpy"] = "1.26.4"
    path.write_text(json.dumps(config))
    untouched = contents(run_dir)
    end = ends("--resume", f"--run-dir={run_dir}")
    assert_refused(end, f"numpy {versions.installed()['numpy']} instead of 1.26.4")
    assert contents(run_dir) == untouched


# What config.json said before the settings had their present names.
OLD_CONFIGS = {
    "ppo": (
        {"trace_decay": 0.9, "longest_gradient": 1.0, "value_weight": 0.25, "entropy_bonus": 0.02, "passes": 3}
        | {"entropy_bonus_end": 0.001, "minibatch": 256, "decline_updates": 50, "preset": "proximal"},
        {"gae_lambda": 0.9, "max_grad_norm": 1.0, "value_coef": 0.25, "entropy_coef": 0.02, "epochs": 3}
        | {"entropy_coef_end": 0.001, "minibatch_size": 256, "anneal_updates": 50},
    ),
    "reinforce": ({"preset": "classic", "decay_rate": 0.9}, {"decay_rate": 0.9}),
}


@pytest.mark.parametrize("preset", OLD_CONFIGS)
def test_a_run_whose_settings_had_other_names_is_read(run_dir, preset):
    old, now = OLD_CONFIGS[preset]
    path = run_dir / "config.json"
    recorded = json.loads(path.read_text())
    recorded["settings"] = {"batch_size": 2, "hidden_units": 2, **old}
    path.write_text(json.dumps(recorded))
    assert read_settings(run_dir) == Settings(preset=preset, batch_size=2, hidden_units=2, **now)


# ---- what cannot be used: the rest is in tests/test_bad_input.py ----------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--batch"], ["--batch"], id="abbreviated flag"),
        pytest.param(["--no-such-flag=3"], ["--no-such-flag"], id="unknown flag"),
        pytest.param(["--two\nlines"], ["--two"], id="unknown flag of two lines"),
        pytest.param(["extra"], ["extra"], id="argument without a flag"),
        pytest.param(["--resume=yes"], ["yes"], id="value for a switch"),
        pytest.param(["--updates"], ["--updates"], id="missing value at the end"),
        pytest.param(["--updates", "--seed=1"], ["--updates"], id="missing value before another flag"),
        pytest.param(["--run-dir="], ["--run-dir"], id="empty directory"),
        pytest.param(["--run-dir", ""], ["--run-dir"], id="empty directory as the next argument"),
        pytest.param(["--address="], ["--address"], id="empty address"),
        pytest.param(["--address=ray://head:10001"], ["ray://head:10001", "HOST:PORT"], id="address of Ray Client"),
        pytest.param(["--address=a:1", "--redis-address=b:1"], ["--redis-address", "--address"], id="two addresses"),
        pytest.param(["--resume", "--overwrite"], ["--resume", "--overwrite"], id="keep and delete"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_told_of(ends, arguments, words):
    end = ends(*arguments)
    assert_refused(end, *words)
    assert end.out == ""
    assert list(Path.cwd().iterdir()) == []


# ---- directories --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [[], ["--overwrite"]], ids=["new", "overwrite"])
@pytest.mark.parametrize("place", ["file", "file/below", "/proc/no-such-run", "/proc/1/no-such-run"])
def test_a_directory_that_cannot_be_written_is_named(ends, tmp_path, place, extra):
    (tmp_path / "file").write_text("mine")
    directory = tmp_path / place
    assert_refused(ends(f"--run-dir={directory}", *extra), str(directory), "--run-dir")
    assert contents(tmp_path) == {"file": b"mine", "here": None}


def test_a_directory_that_holds_a_run_is_kept(run_dir, ends):
    untouched = contents(run_dir)
    assert_refused(ends(f"--run-dir={run_dir}", "--batch-size=3"), str(run_dir), "--resume", "--overwrite")
    assert contents(run_dir) == untouched


def test_a_run_that_is_being_written_is_left_alone(run_dir, ends):
    settings = from_command_line(["--resume", f"--run-dir={run_dir}"])
    with open_for_writing(opening(settings), lambda _: None):
        untouched = contents(run_dir)
        for how in ("--resume", "--overwrite"):
            assert_refused(ends(f"--run-dir={run_dir}", how), str(run_dir), "driver process")
        assert contents(run_dir) == untouched


@pytest.mark.parametrize("place", ["nothing", "file", "file/below", "here"])
def test_nothing_is_not_resumed(ends, tmp_path, place):
    (tmp_path / "file").write_text("mine")
    assert_refused(ends("--resume", f"--run-dir={tmp_path / place}"), str(tmp_path / place))
    assert contents(tmp_path) == {"file": b"mine", "here": None}


# ---- addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "localhost:{}", "[::1]:{}"])
def test_a_closed_port_is_named_before_anything_is_written(run_dir, ends, tmp_path, address):
    address = address.format(closed_port())
    untouched = contents(run_dir)
    for directory, how in ((run_dir, "--overwrite"), (run_dir, "--resume"), (tmp_path / "new", "--updates=1")):
        assert_refused(ends(f"--run-dir={directory}", how, f"--address={address}"), address)
    assert contents(run_dir) == untouched
    assert not (tmp_path / "new").exists()


def test_a_host_without_an_address_is_named(ends):
    assert_refused(ends("--address=no-such-host.invalid:6379"), "no-such-host.invalid:6379")


def test_the_recorded_address_is_tried_too(tmp_path, ends):
    address = f"127.0.0.1:{closed_port()}"
    settings = Settings(run_dir=tmp_path / "run", address=address, **SMALL)
    with open_for_writing(opening(settings), lambda _: None):
        pass
    assert_refused(ends("--resume", f"--run-dir={tmp_path / 'run'}"), address)


def test_a_port_that_never_answers_is_given_up(run_dir, ends, monkeypatch):
    monkeypatch.setattr(ray_session, "_STATUS_TIMEOUT_S", 2.0)
    untouched = contents(run_dir)
    with silent_port() as port:
        end = ends(f"--run-dir={run_dir}", "--overwrite", f"--address=127.0.0.1:{port}")
    assert_refused(end, f"127.0.0.1:{port}", "within 2 s")
    assert contents(run_dir) == untouched


@pytest.mark.slow
def test_a_real_process_gives_a_port_up_that_never_answers(tmp_path):
    with silent_port() as port:
        done = finished(f"--run-dir={tmp_path / 'run'}", f"--address=127.0.0.1:{port}")
    assert_refused(End(done.returncode, done.stdout, done.stderr), f"127.0.0.1:{port}")
    assert not (tmp_path / "run").exists()


def test_what_ray_says_about_a_cluster_is_handed_on(tmp_path, monkeypatch):
    ray_status = tmp_path / "python"
    ray_status.write_text(
        "#!/bin/sh\necho 'Traceback\n  line\nray.SomeError: the token is another. More.' >&2\nexit 1\n"
    )
    ray_status.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(ray_status))
    with pytest.raises(BadInput, match=r"^no Ray cluster can be joined at auto \(the token is another\)"):
        ray_session.expect_an_answer("auto")


def test_resume_auto_begins_a_run_where_there_is_none_and_goes_on_with_one_that_is_there(tmp_path):
    command = ["--resume=auto", f"--run-dir={tmp_path}", "--batch-size=3", "--updates=9"]
    assert from_command_line(command) == from_command_line(command[1:])
    begun = dataclasses.replace(from_command_line(command), checkpoint_every=4)
    config.write(tmp_path, {"settings": begun.lasting()}, initial_state.from_seed(begun).digest())
    assert from_command_line(command) == dataclasses.replace(begun, resume=True)
    with pytest.raises(BadInput, match="--batch-size is 4, but the run in"):
        from_command_line(["--resume=auto", f"--run-dir={tmp_path}", "--batch-size=4"])


def test_resume_auto_leaves_out_what_a_run_that_is_there_has_begun_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["--resume=auto", "--init-weights=given.npz"]
    begun = from_command_line(command)
    assert (begun.resume, begun.init_weights) == (False, Path("given.npz"))
    begun.directory.mkdir(parents=True)
    config.write(begun.directory, {"settings": begun.lasting()}, "0" * 64)
    again = from_command_line(command)
    assert (again.resume, again.init_weights, again.directory) == (True, None, begun.directory)


@pytest.mark.parametrize("other", ["--overwrite", "--resume"])
def test_resume_auto_excludes_what_decides_otherwise(run_dir, other):
    with pytest.raises(BadInput, match="--resume=auto goes with neither"):
        from_command_line(["--resume=auto", other, f"--run-dir={run_dir}"])
