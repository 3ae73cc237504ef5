"""What the learned game's commands cannot use: one sentence each, as bad input, and nothing is left behind.

A case is a command line and, where a file of a sound model or recording was altered, which one and how.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from bitexact.cli.exits import BadInput
from world_model.__main__ import main

MODEL = Path(__file__).parents[2] / "pretrained" / "table-rnn"
Alter = Callable[[Path], object]


class Case(NamedTuple):
    """One bad input."""

    name: str
    arguments: tuple[str, ...]
    file: str = ""  # below the folder of the test
    alter: Alter = Path.exists


LINES = {  # what each command would take; it is given it with one thing wrong
    "record": ("--out={dir}/new", "--episodes=10"),
    "train": ("--recording={dir}/recording", "--out={dir}/new", "--updates=1"),
    "compare": ("--model-path={dir}/model", "--recording={dir}/recording", "--starts=1"),
    "agent": ("--model-path={dir}/model", "--games=1"),
    "play": ("--model-path={dir}/model", "--port=0"),
    "film": ("--model-path={dir}/model", "--out={dir}/new.gif"),
}
BAD_VALUES: dict[str, dict[str, tuple[str, ...]]] = {
    "record": {
        "--episodes": ("9", "-1", "100001", "2.5", "many", "nan"),
        "--seed": ("-1", "9223372036854775808", "x"),
        "--processes": ("0", "257", "x"),
        "--game": ("pong", "fuzzy"),
        "--out": ("{dir}/file", "{dir}/file/below", "{dir}/model", "/proc/none"),
    },
    "train": {
        "--recording": ("{dir}/none", "{dir}/file", "{dir}/model"),
        "--out": ("{dir}/file/below", "/proc/none"),
        "--model-type": ("lstm", ""),
        "--structure": ("gates", "hard"),
        "--updates": ("0", "-1", "1.5", "soon"),
        "--anneal-updates": ("0", "x"),
        "--learning-rate": ("0", "1", "nan", "inf", "-0.1", "fast"),
        "--windows": ("0", "x"),
        "--window-steps": ("1", "257", "x"),
        "--units": ("0", "-4", "10000", "x"),
        "--head-units": ("0", "x"),
        "--epoch-updates": ("0", "x"),
        "--episodes": ("0", "x"),
        "--seed": ("-1", "9223372036854775808"),
        "--device": ("cuda", "tpu"),
    },
    "compare": {
        "--model-path": ("{dir}/none", "{dir}/file", "{dir}/recording", "runs:/1/model", "runs:/", "runs:/x/../y"),
        "--recording": ("{dir}/none", "{dir}/file", "{dir}/model"),
        "--split": ("training", "test"),
        "--starts": ("0", "-1", "100001", "x"),
        "--steps": ("119", "10001", "x"),
        "--json": ("{dir}/none/figures.json",),
        "--picture": ("{dir}/error.bmp", "{dir}/none/error.png"),
    },
    "agent": {
        "--model-path": ("{dir}/none", "{dir}/model"),  # the second is one of the table
        "--games": ("0", "10001", "x"),
        "--processes": ("0", "257"),
    },
    "play": {
        "--model-path": ("{dir}/none", "{dir}/recording"),
        "--port": ("-1", "65536", "x"),
        "--temperature": ("-0.1", "11", "nan", "hot"),
        "--seed": ("-1", "9223372036854775808"),
        "--player": ("nobody", "trained"),
        "--generator-type": ("real", "both of them"),
        "--model-type": ("transformer", "TransformerModel", "lstm"),
        "--keep": ("{dir}/file", "{dir}/file/below", "{dir}/model", "{dir}/recording", "/proc/none"),
    },
    "film": {
        "--model-path": ("{dir}/none",),
        "--out": ("{dir}/none/film.gif", "{dir}/film.mp4"),
        "--steps": ("2", "3601", "x"),
    },
}


def _with(flag: str, value: str, line: tuple[str, ...]) -> tuple[str, ...]:
    return (*(one for one in line if not one.startswith(f"{flag}=")), f"{flag}={value}")


def _command_lines() -> Iterator[Case]:
    yield Case("no such command", ("dream",))
    for command, line in LINES.items():
        yield Case(f"{command} --no-such-flag", (command, *line, "--no-such-flag"))
        for flag, values in BAD_VALUES[command].items():
            for value in values:
                yield Case(f"{command} {flag}={value}", (command, *_with(flag, value, line)))


def _cut(share: float, path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def _flip(share: float, path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 0x55
    path.write_bytes(data)


def _say(names: tuple[str, ...], value: object, path: Path) -> None:
    whole = found = json.loads(path.read_bytes())
    for name in names[:-1]:
        found = found[name]
    found[names[-1]] = value
    path.write_text(json.dumps(whole))


ALTERATIONS: dict[str, Alter] = {
    "gone": Path.unlink,
    "empty": partial(_cut, 0.0),
    "its first byte": lambda path: path.write_bytes(path.read_bytes()[:1]),
    "cut in the middle": partial(_cut, 0.5),
    "without its end": partial(_cut, 0.999),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "of noise": lambda path: path.write_bytes(bytes(range(256)) * 4),
    "a header without end": lambda path: path.write_bytes(b"\xff" * 64),
    "a list": lambda path: path.write_text("[]"),
    "deep": lambda path: path.write_text("[" * 100_000),
}
SAID_OF_A_MODEL: dict[tuple[str, ...], tuple[object, ...]] = {
    ("version",): (0, 2, None, "1"),
    ("digest",): ("0" * 64, None, 7),
    ("structure",): ("gates", None, 3),
    ("shape",): (None, [], {}),
    ("shape", "units"): (0, -1, 10**9, 1.5, "48"),
    ("shape", "inputs"): (0, 1),
    ("shape", "outputs"): (0, 10**6),
    ("shape", "model_type"): ("lstm", None),
    ("layout",): (None, [], {}, {"game": "table"}),
}


def _damaged_files() -> Iterator[Case]:
    compare = ("compare", *LINES["compare"])
    files = ("model/model.json", "model/weights.safetensors", "recording/manifest.json")
    for file in (*files, "recording/episode-000009.safetensors"):
        for name, alter in ALTERATIONS.items():
            yield Case(f"{file} {name}", compare, file, alter)
    for share in (0.0, 0.01, 0.3, 0.6, 0.99):
        for file in ("model/weights.safetensors", "recording/episode-000009.safetensors"):
            yield Case(f"{file} with a byte altered at {share}", compare, file, partial(_flip, share))
    for names, values in SAID_OF_A_MODEL.items():
        for value in values:
            yield Case(f"model of {names} {value!r}"[:80], compare, files[0], partial(_say, names, value))


CASES = [*_command_lines(), *_damaged_files()]


@pytest.fixture(scope="module")
def folder(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model, a sound recording, and a file that is neither."""
    made = tmp_path_factory.mktemp("bad-input")
    shutil.copytree(MODEL, made / "model")
    shutil.copytree(table, made / "recording")
    (made / "file").write_text("neither\n")
    return made


def test_there_are_a_hundred_of_them_and_none_twice() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 100, len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_bad_input_is_said_in_one_sentence(
    case: Case, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / case.file
    kept = path.read_bytes() if case.file else b""
    monkeypatch.chdir(tmp_path)
    before = sorted(folder.rglob("*"))
    try:
        case.alter(path)
        with pytest.raises(BadInput) as refused:
            main([one.format(dir=folder) for one in case.arguments])
    finally:
        if case.file:
            if path.is_dir():
                path.rmdir()
            path.write_bytes(kept)
    said = str(refused.value)
    assert "\n" not in said.strip(), said
    assert 10 < len(said) < 600, said
    assert sorted(folder.rglob("*")) == before, "something was left behind"
