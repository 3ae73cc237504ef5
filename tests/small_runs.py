"""A small run without Ray, and a disk that fails: what the tests of checkpoints, ledger and crashes share.

The run is made by the driver's own parts, `Recorder` and the `Batch` of `reinforce`. Only the rollouts are stand-ins
that cost next to nothing: pure functions of (weights, seed, update, index) too, whose sums show the order of their
additions.

    state = train(small_settings(tmp_path / "run"))
    with disk(Kill(at=20)), pytest.raises(Killed):
        train(small_settings(tmp_path / "killed"))
    assert go_on(small_settings(tmp_path / "killed")).digest() == state.digest()
"""

import dataclasses
import errno
import functools
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import invariants
from bitexact.cli.progress import Progress
from bitexact.determinism import versions
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.streams import Purpose, Stream
from bitexact.storage.run_directory import open_for_writing
from bitexact.storage.state import State
from training.batch import Batch
from training.pace import SPENT
from training.recorder import Recorder
from training.rollout_record import RolloutRecord, combine_fingerprints
from training.run_config import opening
from training.settings import REINFORCE, Settings, of_preset
from training.update import new_batch

# What a line says that another run of the same settings need not say.
OF_THE_CLOCK = ("wall_time_s", "steps_per_s", *SPENT)
Line = dict[str, Any]
Rollout = Callable[[Settings, Arrays, int, int], tuple[Arrays, RolloutRecord]]


# ---- the run ----------------------------------------------------------------------------------------------------


def small_settings(directory: Path, **changes: Any) -> Settings:
    """Three rollouts an update, six updates, a checkpoint every second one, one of them kept."""
    small: dict[str, Any] = {"hidden_units": 1, "learning_rate": 1e-3, "batch_size": 3, "updates": 6}
    small |= {"checkpoint_every": 2, "keep_checkpoints": 1, "run_dir": directory}
    return of_preset(REINFORCE, **small | changes)


@functools.cache
def noise(seed: int, update: int, index: int, size: int) -> np.ndarray:
    """Numbers of many magnitudes, float64: the order in which such are added shows in the sum."""
    stream = Stream(seed, Purpose.POLICY, update, index)
    return np.ldexp(stream.uniforms(size) - 0.5, (stream.uniforms(size) * 16).astype(int) - 8)


def stand_in(settings: Settings, weights: Arrays, update: int, index: int) -> tuple[Arrays, RolloutRecord]:
    """Random numbers and the weights, instead of a game."""
    gradient = {}
    for name, array in sorted(weights.items()):
        numbers = noise(settings.seed, update, index, array.size).reshape(array.shape)
        gradient[name] = (numbers * (1.0 + array)).astype(np.float32)
    steps = np.abs(noise(settings.seed, update, index, 30)) % 1.0
    ups, rewards = steps < 0.5, np.where(steps < 0.3, 1, -1).astype(np.int8)
    arrays = {"actions": ups, "rewards": rewards, **gradient}
    fingerprints = {name: fingerprint({name: array}) for name, array in arrays.items()}
    record = RolloutRecord(
        update=update,
        index=index,
        reward=int(rewards.sum()),
        steps=len(steps),
        points_won=int((rewards > 0).sum()),
        points_lost=int((rewards < 0).sum()),
        loss=math.fsum(steps.tolist()),
        weights=fingerprint(weights),
        digest=combine_fingerprints(fingerprints),
        arrays=fingerprints,
    )
    return gradient, record


@contextmanager
def without_waiting() -> Iterator[None]:
    """No process here loses what the kernel holds: an fsync is an event to be seen, nothing to wait for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(versions, "installed", functools.cache(versions.installed))
        yield


class Diary(Progress):
    """What a run said and did, for the tests to look at."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.began_after: int | None = None
        self.computed: list[int] = []  # updates, in the order in which they were begun
        self.committed: list[int] = []  # whose line the recorder said was written
        self.checkpointed: list[int] = []  # whose checkpoint it said was
        self.metrics: list[dict[str, Any]] = []

    def note(self, text: str) -> None:
        """Keep a note instead of printing it."""
        self.notes.append(text)

    def update(self, metrics: Any) -> None:
        """Keep an update's line instead of printing it."""
        self.committed.append(metrics["update"])
        self.metrics.append(metrics)


def train(
    settings: Settings,
    diary: Diary | None = None,
    *,
    rollout: Rollout = stand_in,
    arrival: Callable[[Iterable[int]], Iterable[int]] = iter,
    learn: Callable[[Batch], State] = Batch.learn,
) -> State:
    """Train as the driver does; `arrival` reorders the indices of a batch."""
    diary = diary or Diary()
    with open_for_writing(opening(settings), diary.note) as run:
        recorder = Recorder(settings, run, diary)
        state = recorder.restore()
        diary.began_after = state.update
        recorder.start_lap()
        while not recorder.finished(state):
            batch = new_batch(settings, state)
            diary.computed.append(batch.update)
            for index in arrival(range(settings.batch_size)):
                batch.add(*rollout(settings, state.weights, batch.update, index))
            invariants.a_rollout_is_begun_within_its_limit(1, settings.rollout_attempts, {"update": batch.update})
            state = learn(batch)
            recorder.commit(state, batch, Counter())
            if state.update % settings.checkpoint_every == 0:
                diary.checkpointed.append(state.update)
        recorder.checkpoint()
    return state


def go_on(settings: Settings, diary: Diary | None = None, **how: Any) -> State:
    """What a supervisor does with a run that ended early: resume it, or begin it again where it never got to be one."""
    begun = seed_of(settings.directory) == settings.seed
    return train(dataclasses.replace(settings, resume=begun, overwrite=settings.overwrite and not begun), diary, **how)


def seed_of(directory: Path) -> int | None:
    """The seed of the run in a directory, if there is one."""
    path = directory / "config.json"
    return json.loads(path.read_text())["settings"]["seed"] if path.exists() else None


def written(directory: Path) -> dict[str, list[Line]]:
    """Every line of the ledger, in its order, without what comes from a clock. Raises ValueError for a damaged one."""
    lines = {}
    for name in ("metrics.jsonl", "rollouts.jsonl"):
        text = (directory / name).read_text()
        if not text.endswith("\n"):
            raise ValueError(f"{name} does not end with a line's end")
        lines[name] = [without_clock(json.loads(line)) for line in text.splitlines()]
    return lines


def without_clock(line: Line) -> Line:
    """What a line says that every run of the same settings says."""
    return {key: value for key, value in line.items() if key not in OF_THE_CLOCK}


# ---- the disk ---------------------------------------------------------------------------------------------------

CHANGING = ("open", "mkdir", "write", "pwrite", "fsync", "ftruncate", "replace", "rename", "unlink", "rmdir")
WRITES = ("write", "pwrite")
TAKING_ROOM = ("open", "mkdir", "write", "pwrite", "replace", "rename")
Handler = Callable[[str, tuple[Any, ...], Callable[..., Any]], Any]


class Call(NamedTuple):
    """One of these calls, and the file or folder that it is about."""

    name: str
    path: Path

    def __str__(self) -> str:
        return f"{self.name} of {self.path.name}"


class Killed(BaseException):
    """The process died here: no code of the product runs on."""


@contextmanager
def disk(handler: Handler) -> Iterator[None]:
    """Let every call that changes the disk, of those in `os`, go through `handler(name, arguments, real call)`."""

    def call(name: str, real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if name == "open" and not args[1] & os.O_CREAT:
            return real(*args, **kwargs)
        return handler(name, args, functools.partial(real, **kwargs))

    with pytest.MonkeyPatch.context() as patch:
        for name in CHANGING:
            patch.setattr(os, name, functools.partial(call, name, getattr(os, name)))
        yield


class Kill:
    """SIGKILL at a call: before it, or after half of its bytes. What comes later has no effect."""

    def __init__(self, at: float = math.inf, half: bool = False) -> None:
        self.calls: list[Call] = []
        self._at, self._half = at, half

    def __call__(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        self.calls.append(Call(name, path_of(name, args)))
        if len(self.calls) == self._at and self._half and name in WRITES:
            self.do(name, halved(args), real)
        if len(self.calls) >= self._at:
            raise Killed
        return self.do(name, args, real)

    def do(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        """Make the call."""
        return real(*args)


class PowerCut(Kill):
    """The same, and `cut` then takes away what was not synchronised.

    Of each file stays what it held at its last fsync, under the names that its folder had at its last fsync.
    """

    def __init__(self, base: Path, at: float = math.inf) -> None:
        super().__init__(at)
        self._base = base
        self._ids: dict[int, int] = {}  # by inode, whose numbers are used again
        self._contents: dict[int, bytes] = {}  # by id
        self._names: dict[int, dict[str, int]] = {}  # ids by a folder's id and the name in it
        for folder, _, names in os.walk(base):
            for path in (Path(folder), *(Path(folder) / name for name in names)):
                self._remember(path)

    def do(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        """Make the call, and note what now lasts."""
        path = path_of(name, args)
        is_new = name in ("open", "mkdir") and not path.exists()
        result = real(*args)
        if is_new:
            self._ids.pop(path.stat().st_ino, None)
        if name == "fsync":
            self._remember(path)
        return result

    def cut(self) -> None:
        """The power fails and comes back."""
        root = self._id(self._base)
        for path in self._base.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._restore(self._base, root)

    def _id(self, path: Path) -> int:
        new = len(self._contents) + len(self._names)
        number = self._ids.setdefault(path.stat().st_ino, new)
        if number == new:
            (self._names if path.is_dir() else self._contents)[new] = {} if path.is_dir() else b""
        return number

    def _remember(self, path: Path) -> None:
        if path.is_dir():
            self._names[self._id(path)] = {child.name: self._id(child) for child in path.iterdir()}
        else:
            self._contents[self._id(path)] = path.read_bytes()

    def _restore(self, folder: Path, number: int) -> None:
        for name, child in self._names[number].items():
            if child in self._names:
                (folder / name).mkdir()
                self._restore(folder / name, child)
            else:
                (folder / name).write_bytes(self._contents[child])


class Refuse:
    """A disk that refuses from one call on: those in `which` raise. `short`: the first, if a write, is done by half."""

    def __init__(self, number: int, which: Iterable[str], at: float = 1, short: bool = False) -> None:
        self.refused: Path | None = None  # what the first call refused was about
        self._count = 0
        self._number, self._which, self._at, self._short = number, which, at, short

    def __call__(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        self._count += 1
        if self._count == self._at and self._short and name in WRITES:
            return real(*halved(args))
        if self._count >= self._at and name in self._which:
            self.refused = self.refused or path_of(name, args)
            raise OSError(self._number, os.strerror(self._number))
        return real(*args)


def full_from(at: float, short: bool = False) -> Refuse:
    """A disk that is full from a call on: nothing new fits, what is there can be read, cut and deleted."""
    return Refuse(errno.ENOSPC, TAKING_ROOM, at, short)


def halved(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The arguments of a write, with the first half of its bytes."""
    return (args[0], args[1][: len(args[1]) // 2], *args[2:])


def path_of(name: str, args: tuple[Any, ...]) -> Path:
    """The file or folder that a call is about."""
    target = args[1] if name in ("replace", "rename") else args[0]
    return Path(f"/proc/self/fd/{target}").readlink() if isinstance(target, int) else Path(target)
