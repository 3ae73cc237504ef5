"""Whatever a run's files hold, reading them ends as an entry point may end: no other exception, memory is bounded.

Each kind of file is a sound one, altered: bytes flipped, cut, doubled and put in, values of JSON replaced by others.
"""

import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory import forget_peak, peak
from small_runs import small_settings, train

from bitexact.cli.exits import Ended
from bitexact.reporting import page
from bitexact.reporting.observations import observe
from bitexact.storage import checkpoints, comparison
from bitexact.storage.checkpoints import BadCheckpoint
from bitexact.storage.ledger import EVENTS, METRICS, ROLLOUTS, Ledger, irregularities
from bitexact.storage.run import Run
from training import initial_state, learning_curve, saved_policy
from training.charts import CHARTS
from training.settings import read_settings

QUICK, SLOW = 150, 4_200  # inputs of each of the six kinds: 25,200 in the slow part
MOST_BYTES = 500 << 20
CHECKPOINT = "checkpoints/update-00000006.npz"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound run, with an event and what a process saw; its files are altered, and put back."""
    directory = tmp_path_factory.mktemp("fuzzed") / "run"
    train(small_settings(directory))
    shutil.copytree(directory, directory.with_name("sound"))
    (directory / EVENTS).write_text('{"wall_time_s": 1.5, "update": 2, "event": "an actor died"}\n')
    (directory / "properties").mkdir()
    seen = {"message": "a claim", "assert_type": "always", "condition": False, "hit": True, "details": {"update": 3}}
    (directory / "properties" / "host-1.jsonl").write_text(json.dumps({"antithesis_assert": seen}) + "\n")
    return directory


# ---- what is put in ---------------------------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**400, -1, 2**63, 1e308, float("nan"), float("inf"), "\ud800", "\x1b[2J", "9" * 5000]),
    st.floats(),
    st.text(max_size=20),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)


@st.composite
def altered_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes flipped, cut off, taken out, doubled or put in."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 60))
        put = draw(
            st.sampled_from([b"", b"\0" * 30, b"\n", data[at : at + length] * 2, b"[" * 3000]) | st.binary(max_size=8)
        )
        data = data[:at] + put + data[at + length :]
    return data


@st.composite
def altered_json(draw: st.DrawFn, data: bytes) -> bytes:
    """A value, at any depth, of one line replaced by another one, or a key taken away."""
    texts = data.splitlines() if data.count(b"\n{") else [data]
    at = draw(st.integers(0, len(texts) - 1))
    with contextlib.suppress(ValueError):
        value = json.loads(texts[at])
        texts[at] = json.dumps(draw(replaced(value))).encode()
    return b"\n".join(texts) + b"\n"


@st.composite
def replaced(draw: st.DrawFn, value: Any) -> Any:
    """A value with something in it replaced."""
    if not isinstance(value, dict) or not value or draw(st.integers(0, 5)) == 0:
        return draw(VALUES)
    name = draw(st.sampled_from(sorted(value)))
    if draw(st.integers(0, 4)) == 0:
        return {other: kept for other, kept in value.items() if other != name}
    return {**value, name: draw(replaced(value[name]))}


# ---- what is done with it ---------------------------------------------------------------------------------------


def read_config(run: Path) -> None:
    Run.open(run)
    read_settings(run)


def read_ledger(run: Path) -> None:
    ledger = Ledger(run)
    list(ledger.entries())
    ledger.entry(3)
    ledger.last_rewards(ledger.last_update, 100)
    irregularities(run)
    with contextlib.suppress(Ended):
        comparison.compare(Run.open(run), Run.open(run.with_name("sound")), (), len)
    with contextlib.suppress(Ended):
        comparison.compare(Run.open(run.with_name("sound")), Run.open(run), (), len)
    learning_curve.read(run)


def read_events(run: Path) -> None:
    page._time_line(page._Events(Ledger(run).events()))
    all(CHARTS.curve.is_in(line) for line in Ledger(run).lines(METRICS))


def read_properties(run: Path) -> None:
    for sentence in observe([run / "properties"]).damage:
        sentence.encode()


def read_checkpoint(run: Path) -> None:
    like = initial_state.outline(read_settings(run))
    for load in (checkpoints.load, checkpoints.load_weights):
        with contextlib.suppress(BadCheckpoint):
            load(run / CHECKPOINT, like)
    with contextlib.suppress(BadCheckpoint):
        checkpoints.load_any(run / CHECKPOINT)
    saved_policy.load(run / CHECKPOINT, len)


KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "config": ("config.json", read_config),
    "metrics": (METRICS, read_ledger),
    "rollouts": (ROLLOUTS, read_ledger),
    "events": (EVENTS, read_events),
    "properties": ("properties/host-1.jsonl", read_properties),
    "checkpoint": (CHECKPOINT, read_checkpoint),
}


@contextlib.contextmanager
def in_its_place(path: Path) -> Iterator[bytes]:
    sound = path.read_bytes()
    try:
        yield sound
    finally:
        path.write_bytes(sound)


def fuzz(run: Path, kind: str, inputs: int) -> None:
    name, read = KINDS[kind]
    before = forget_peak()
    with in_its_place(run / name) as sound:

        @settings(max_examples=inputs, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(data=altered_bytes(sound) if kind == "checkpoint" else altered_bytes(sound) | altered_json(sound))
        def ends_as_it_may(data: bytes) -> None:
            (run / name).write_bytes(data)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Ended):
                read(run)

        ends_as_it_may()
    assert peak() - before < MOST_BYTES


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_was_altered_ends_in_a_sentence(run, kind):
    fuzz(run, kind, QUICK)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_altered_files_end_in_a_sentence(run, kind):
    fuzz(run, kind, SLOW)
