"""What cannot be used, for every entry point: one line on standard error, the documented code, and nothing touched.

    pytest -s tests/test_bad_input.py -k counted           how many

A case is a command line in a folder that was made ready for it: `{run}` is a sound run, or one that was altered,
`{dir}` the folder around it. What only one command refuses, with words of its own, is tested with that command.
"""

import io
import json
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from commands import contents
from small_runs import small_settings, train, without_waiting

from bitexact.cli import exits, ray_folder
from bitexact.determinism import process

BAD_INPUT, DISK = 2, 4
Alter = Callable[[Path], Any]


class Case(NamedTuple):
    """One bad input."""

    command: str
    arguments: tuple[str, ...]
    says: str = ""  # part of the sentence
    altered: str = ""  # what of FILES, or of ENVIRONMENTS, is in place
    code: int = BAD_INPUT

    @property
    def name(self) -> str:
        """For people to read."""
        return " ".join([self.command, *map(ascii, self.arguments), *([f"({self.altered})"] if self.altered else [])])


# ---- command lines --------------------------------------------------------------------------------------------------

# Entry point: a line that it would take.
LINES = {
    "driver": ("--run-dir={dir}/new", "--updates=1"),
    "evaluate": ("{run}",),
    "replay": ("{run}", "--update=1"),
    "compare": ("{run}", "{run}"),
    "plot": ("{run}", "--out={dir}/curve.png"),
    "report": ("{run}",),
    "track": ("{run}", "--tensorboard"),
    "workload.faults": ("--run-dir={dir}/faults",),
    "workload.local_antithesis": (),
    "benchmarks.run": ("--only=rollout", "--results={dir}/results.json"),
    "benchmarks.page": ("--results={dir}/results.json",),
    "examples.frozen_lake": ("{dir}/lake",),
    "examples.mended_pong": ("{dir}/mended",),
    "workload.naive_loop": ("--only=driver-killed",),
}
NONSENSE = ("--no-such-flag", "--no-such-flag=3", "--two\nlines", "-z", "--=", "---", "--no-such-flag=[bold]│")
READS_A_RUN = ("evaluate", "replay", "compare", "plot", "report", "track")

# What stands in the place of a run or a file: each command that reads one is given it.
NO_RUNS = ("{dir}/nothing", "{dir}/nothing/below", "{dir}", "{dir}/file", "{dir}/file/below", "/dev/null", "/proc/1")

BAD_VALUES: dict[str, dict[str, tuple[str, ...]]] = {
    "driver": {
        "--batch-size": ("0", "-1", "2.5", "many", "nan", "99999999999999999999"),
        "--updates": ("0", "-3", "1.5", "soon"),
        "--until-reward": ("nan", "22", "-22", "inf", "high"),
        "--seed": ("-1", "9223372036854775808", "1.0", "x"),
        "--actors": ("0", "-2", "two", "1e3"),
        "--learning-rate": ("0", "-0.1", "nan", "inf", "-inf", "1e-400", "1e-50", "1e39", "fast"),
        "--learning-rate-end": ("0", "nan", "1e-50", "1.1", "x"),
        "--entropy-coef": ("-0.1", "nan", "inf", "1e39", "x"),
        "--entropy-coef-end": ("-0.1", "nan", "inf", "1e39", "x"),
        "--temperature-end": ("0", "-0.5", "nan", "inf", "1e-300", "1e39", "cold"),
        "--anneal-updates": ("0", "-1", "1.5", "x"),
        "--epochs": ("0", "-1", "1.5", "x"),
        "--minibatch-size": ("0", "-1", "1.5", "x"),
        "--clip": ("0", "-0.1", "nan", "inf", "x"),
        "--gae-lambda": ("-0.1", "1.1", "nan", "x"),
        "--value-coef": ("-0.1", "nan", "inf", "1e39", "x"),
        "--max-grad-norm": ("0", "-1", "nan", "inf", "x"),
        "--sticky-actions": ("-0.1", "1.1", "nan", "inf", "x"),
        "--discount": ("nan", "-0.1", "1.1", "inf", "x"),
        "--decay-rate": ("nan", "-0.1", "1", "inf", "x"),
        "--hidden-units": ("0", "-1", "0.5", "x", "1000000000"),
        "--checkpoint-every": ("0", "-1", "x"),
        "--keep-checkpoints": ("0", "-1", "x"),
        "--rollout-timeout-s": ("0", "-1", "nan", "inf", "x"),
        "--rollout-attempts": ("0", "-1", "1.5", "x"),
        "--cluster-timeout-s": ("0", "-1", "nan", "inf", "x"),
        "--address": ("head", ":6379", "head:", "head:port", "head:123456", "local", "two words:1", "1.2.3.4:5:6"),
        "--redis-address": ("head",),
        "--preset": ("other", "PPO", "3"),
        "--mlflow": ("localhost", "localhost:5000", "ftp://host", "/folder"),
        "--video-every": ("0", "-1", "x"),
    },
    "evaluate": {
        "--games": ("0", "-1", "1.5", "many", "100001"),
        "--sticky-actions": ("-0.1", "1.1", "nan", "x"),
        "--seed": ("-1", "9223372036854775808", "x"),
        "--actors": ("0", "-1", "x"),
        "--video": ("game.avi", "game", "{dir}/no/game.gif"),
        "--json": ("{dir}/no/result.json", "{dir}"),
        "--save-weights": ("{dir}/no/weights.npz", "{dir}/file/weights.npz"),
    },
    "replay": {"--update": ("0", "-1", "8", "99999999999999999999", "x"), "--rollout": ("-1", "3", "1.5", "x")},
    "plot": {"--out": ("curve.bmp", "curve", "{dir}/no/curve.png", "{dir}/file/curve.svg")},
    "report": {"--html": ("{dir}/no/page.html", "{dir}", "{dir}/file/page.html")},
    "track": {"--mlflow": ("localhost", "ftp://host", "3"), "--video-every": ("0", "-1", "x")},
    "workload.faults": {
        "--faults": ("0", "-1", "x"),
        "--updates": ("0", "1.5"),
        "--minutes": ("0", "-1", "nan", "inf", "x"),
        "--seed": ("-1", "x"),
        "--preset": ("other",),
        "--run-dir": ("{run}", "{dir}/file"),
    },
    "workload.local_antithesis": {"--minutes": ("0", "-1", "nan", "inf", "x"), "--override": ("{dir}/nothing",)},
    "benchmarks.run": {"--only": ("nothing", "")},
    "benchmarks.page": {"--results": ("{dir}/nothing", "{dir}", "{dir}/file", "{run}/config.json")},
    "examples.frozen_lake": {"--updates": ("x", "1.5"), "--seed": ("x",), "--actors": ("x",)},
    "examples.mended_pong": {"--updates": ("x", "1.5"), "--seed": ("x",), "--actors": ("x",)},
    "workload.naive_loop": {"--only": ("", "x", "driver_killed")},
}
TOGETHER = {
    "driver": (
        ("--resume", "--init-weights=x.npz", "--run-dir={run}"),
        ("--preset=reinforce", "--clip=0.1"),
        ("--preset=ppo", "--decay-rate=0.5"),
        ("--run-dir={run}",),
    ),
    "evaluate": ((), ("{run}", "--greedy", "--sampled"), ("{run}", "{run}"), ("{run}", "--games")),
    "replay": ((), ("{run}",), ("{run}", "--all", "--update=1"), ("{run}", "--all", "--video=a.gif"), ("{run}", "-1")),
    "compare": ((), ("{run}",), ("{run}", "{run}", "{run}")),
    "plot": ((), ("{run}",), ("--out=curve.png",)),
    "report": ((), ("{run}", "--html")),
    "track": ((), ("{run}",), ("{run}", "--mlflow")),
    "examples.frozen_lake": ((),),
}

# ---- files ----------------------------------------------------------------------------------------------------------

CONFIG, METRICS, CHECKPOINT = "config.json", "metrics.jsonl", "checkpoints/update-00000006.npz"


def config(change: Callable[[dict[str, Any]], Any]) -> Alter:
    """Another config.json, made from the sound one; text as it is."""

    def alter(run: Path) -> None:
        made = change(json.loads((run / CONFIG).read_text()))
        (run / CONFIG).write_text(made if isinstance(made, str) else json.dumps(made))

    return alter


def settings(**changes: object) -> Alter:
    return config(lambda sound: sound | {"settings": sound["settings"] | changes})


def without(name: str) -> Alter:
    return config(lambda sound: {other: value for other, value in sound.items() if other != name})


def folder_for(name: str) -> Alter:
    def alter(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return alter


def arrays(**given: Any) -> Alter:
    return lambda run: np.savez(run / CHECKPOINT, **given)


CONFIGS: dict[str, Alter] = {
    "config empty": config(lambda _: ""),
    "config cut off": config(lambda sound: json.dumps(sound)[:100]),
    "config no text": lambda run: (run / CONFIG).write_bytes(b"\xff\xfe\0"),
    "config a list": config(lambda _: "[]"),
    "config null": config(lambda _: "null"),
    "config nested": config(lambda _: "[" * 100_000),
    "config half a character": config(lambda sound: sound | {"python": "\ud800"}),
    "config a folder": folder_for(CONFIG),
    "config larger than any": config(lambda _: " " * ((1 << 24) + 1)),
    "config without versions": without("versions"),
    "config without python": without("python"),
    "config without digest": without("initial_digest"),
    "config versions no texts": config(lambda sound: sound | {"versions": {"numpy": 1}}),
    "config versions a number": config(lambda sound: sound | {"versions": 3}),
    "config settings a list": config(lambda sound: sound | {"settings": [1]}),
    "config digest none": config(lambda sound: sound | {"initial_digest": "\n"}),
}
SETTINGS: dict[str, Alter] = {
    "config without settings": without("settings"),
    "settings number as text": settings(batch_size="2"),
    "settings half a rollout": settings(batch_size=2.5),
    "settings true for a number": settings(batch_size=True),
    "settings text for a switch": settings(tensorboard="yes"),
    "settings number for text": settings(address=6379),
    "settings unknown preset": settings(preset="other"),
    "settings a list for a preset": settings(preset=[]),
    "settings no hidden units": settings(hidden_units=0),
    "settings not a number": settings(learning_rate=float("nan")),
    "settings nobody knows": settings(no_such_setting=1),
    "settings another place": settings(run_dir="elsewhere"),
    "settings too many units": settings(hidden_units=10**6),
}
OF_A_RESUME: dict[str, Alter] = {
    "settings another seed": settings(seed=1),
    "settings another shape": settings(hidden_units=3),
    "other numpy": config(lambda sound: sound | {"versions": sound["versions"] | {"numpy": "1.26.4"}}),
    "other code": config(lambda sound: sound | {"code": sound["code"] | {"policy": "0" * 16}}),
    "other machine": config(lambda sound: sound | {"machine": "vax"}),
}
LEDGERS: dict[str, Alter] = {
    "metrics a folder": folder_for(METRICS),
    "rollouts a folder": folder_for("rollouts.jsonl"),
    "metrics empty": lambda run: (run / METRICS).write_text(""),
    "metrics no text": lambda run: (run / METRICS).write_bytes(b"\xff\xfe\0\n" * 6),
    "metrics nested": lambda run: (run / METRICS).write_text(("[" * 100_000 + "\n") * 6),
}
CHECKPOINTS: dict[str, Alter] = {
    "checkpoint empty": lambda run: (run / CHECKPOINT).write_bytes(b""),
    "checkpoint no archive": lambda run: (run / CHECKPOINT).write_bytes(b"\xff" * 1000),
    "checkpoint cut off": lambda run: os.truncate(run / CHECKPOINT, 1000),
    "checkpoint of nothing": arrays(),
    "checkpoint of strangers": arrays(a=np.zeros(3)),
    "checkpoint of half a policy": arrays(W1=np.zeros((6400, 1), np.float32)),
    "checkpoint of another game": arrays(W1=np.zeros((7, 1), np.float32), W2=np.zeros(1, np.float32)),
    "checkpoint of float64": arrays(W1=np.zeros((6400, 1)), W2=np.zeros(1)),
    "checkpoint of objects": arrays(W1=np.array([{}], object), W2=np.zeros(1)),
    "checkpoint a folder": folder_for(CHECKPOINT),
    "checkpoint missing": lambda run: (run / CHECKPOINT).unlink(),
}
FILES = CONFIGS | SETTINGS | OF_A_RESUME | LEDGERS | CHECKPOINTS
RESUME = ("--resume", "--run-dir={run}")

# ---- environments ---------------------------------------------------------------------------------------------------


def in_a_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    Path.cwd().rmdir()


ENVIRONMENTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "folder gone": in_a_folder_that_is_gone,
    "2 GB of address space": lambda patch: patch.setattr(resource, "getrlimit", lambda _: (2 << 30, -1)),
    "no short folder": lambda patch: patch.setattr(ray_folder, "_LONGEST", 3),
    "no folder that is writable": lambda patch: patch.setattr(ray_folder, "_is_made", lambda _: False),
    "denormals flushed": lambda patch: patch.setattr(process, "keep_denormals", lambda: False),
    "little memory": lambda patch: patch.setattr(process, "memory_left", lambda: 2 << 30),
}
NO_UTF_8 = "{dir}/\udcff"


def cases() -> Iterator[Case]:
    yield from command_lines()
    yield from files()
    yield from environments()


def command_lines() -> Iterator[Case]:
    for command, line in LINES.items():
        for word in NONSENSE:
            yield Case(command, (*line, word))
        for flag, values in BAD_VALUES.get(command, {}).items():
            for value in values:
                yield Case(command, (*line_but(command, flag), f"{flag}={value}"), says=said_of(command, flag))
        for arguments in TOGETHER.get(command, ()):
            yield Case(command, arguments)


def line_but(command: str, flag: str) -> tuple[str, ...]:
    """A command's line without a flag, and with what that flag needs."""
    line = tuple(word for word in LINES[command] if word.partition("=")[0] != flag)
    return (*line, "--update=1") if flag == "--rollout" and "--update=1" not in line else line


def said_of(command: str, flag: str) -> str:
    """Which flag a sentence names: most do."""
    return flag.replace("redis-", "").removeprefix("--") if command == "driver" else ""


def files() -> Iterator[Case]:
    for place in NO_RUNS:
        for command in READS_A_RUN:
            yield Case(command, tuple(word.replace("{run}", place) for word in LINES[command]))
        yield Case("driver", ("--resume", f"--run-dir={place}"))
        yield Case("driver", (f"--init-weights={place}",))
        yield Case("driver", (f"--train-inside={place}",))
    for altered in FILES:
        says = CONFIG if altered in CONFIGS | SETTINGS else ""
        yield from (Case(command, arguments, says, altered) for command, arguments in who_refuses(altered))


def who_refuses(altered: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if altered in CONFIGS:
        yield from ((command, LINES[command]) for command in READS_A_RUN)
    if altered in SETTINGS:
        yield from ((command, LINES[command]) for command in ("evaluate", "replay", "plot"))
    if altered in CONFIGS | SETTINGS | OF_A_RESUME:
        yield "driver", RESUME
    if altered in LEDGERS:
        yield "replay", ("{run}", "--update=3")
        yield "plot", LINES["plot"]
    if altered in CHECKPOINTS:
        yield "evaluate", (f"{{run}}/{CHECKPOINT}",)
        yield "driver", ("--preset=reinforce", "--hidden-units=1", f"--init-weights={{run}}/{CHECKPOINT}")


def environments() -> Iterator[Case]:
    yield from (Case(command, line, "current folder is gone", "folder gone") for command, line in LINES.items())
    for name in ("2 GB of address space", "no short folder", "no folder that is writable"):
        yield from (Case(command, LINES[command], altered=name) for command in ("driver", "evaluate"))
    yield Case("driver", LINES["driver"], "denormal", "denormals flushed")
    yield Case("driver", ("--hidden-units=100000",), "--hidden-units", "little memory")
    yield Case("driver", (f"--run-dir={NO_UTF_8}",), "UTF-8")
    yield Case("driver", (f"--run-dir={NO_UTF_8}", "--resume"))
    yield Case("driver", (f"--train-inside={NO_UTF_8}",))
    yield from (
        Case("evaluate", ("{run}", f"--{flag}={NO_UTF_8}{end}")) for flag, end in [("json", ""), ("video", ".gif")]
    )
    for command in READS_A_RUN:
        yield Case(command, tuple(word.replace("{run}", NO_UTF_8) for word in LINES[command]))


CASES = list(cases())


# ---- how they end ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six updates. Not to be altered."""
    with without_waiting():
        directory = tmp_path_factory.mktemp("sound") / "run"
        train(small_settings(directory))
    return directory


@pytest.fixture
def folder(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to be in, with a copy of the run and a file; what a command does to this process is undone."""
    shutil.copytree(sound, tmp_path / "run")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = {number: signal.getsignal(number) for number in numbers}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_it_is_one_line_and_the_documented_code(folder, monkeypatch, case):
    main = import_module(case.command).main
    if case.altered in FILES:
        FILES[case.altered](folder / "run")
    elif case.altered:
        ENVIRONMENTS[case.altered](monkeypatch)
    arguments = [word.replace("{run}", str(folder / "run")).replace("{dir}", str(folder)) for word in case.arguments]
    monkeypatch.setattr(sys, "argv", [f"{case.command}.py", *arguments])
    printed = {name: io.TextIOWrapper(io.BytesIO(), errors="backslashreplace") for name in ("stdout", "stderr")}
    for name, stream in printed.items():  # as output.py makes them
        monkeypatch.setattr(sys, name, stream)
    untouched = contents(folder)
    with pytest.raises(SystemExit) as end:
        exits.run(main)
    out, err = (stream.detach().getvalue().decode() for stream in printed.values())
    assert end.value.code == case.code, err
    assert "Traceback" not in out + err
    assert err.startswith(f"{case.command}.py: ")
    assert (err.count("\n"), err[-1]) == (1, "\n"), err
    assert err.rstrip().endswith((".", "?")), err
    assert case.says in err
    assert contents(folder) == untouched


@pytest.mark.parametrize("command", LINES)
def test_help_has_the_table_of_exit_codes(command, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "500")
    with pytest.raises(SystemExit) as end:
        import_module(command).main(["--help"])
    assert not end.value.code
    assert exits.CODES in capsys.readouterr().out


def test_the_table_of_exit_codes_is_whole():
    known = {kind.exit_code for kind in all_below(exits.Ended) if hasattr(kind, "exit_code")}
    signals = {exits.Interrupted(number).exit_code for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    assert {int(code) for code in re.findall(r"\d+", exits.CODES)} == {0, exits.Unread().exit_code} | known | signals
    assert known == {1, 2, 3, 4, 5, 6}
    for code in re.findall(r"\d+", exits.CODES):
        assert re.search(rf"\b{code}\b", exits.__doc__)


def all_below(kind: type) -> Iterator[type]:
    for below in kind.__subclasses__():
        yield below
        yield from all_below(below)


def test_they_are_counted():
    distinct = len({(case.command, case.arguments, case.altered) for case in CASES})
    print(f"\n{distinct} bad inputs to {len({case.command for case in CASES})} entry points")
    assert distinct == len(CASES)
    assert distinct >= 300
    assert {case.command for case in CASES} == LINES.keys()
