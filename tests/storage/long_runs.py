"""Runs of any length that never were, and what it costs to read them, measured in a process of its own.

    python tests/storage/long_runs.py resume RUN          prints seconds and the peak of memory in MB

Their last two updates have states, checkpoints and true digests; what was before them are lines like theirs.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

from memory import peak
from small_runs import Diary, small_settings

from bitexact.reporting import page as report_page
from bitexact.reporting import verdicts
from bitexact.storage import comparison, config
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.ledger import METRICS, ROLLOUTS, irregularities
from bitexact.storage.run import Run
from bitexact.storage.run_directory import open_for_writing
from bitexact.storage.state import State
from training import initial_state, learning_curve, replayer
from training.charts import CHARTS
from training.recorder import Recorder
from training.rollout_record import RolloutRecord
from training.run_config import opening
from training.settings import Settings

BATCH = 10
_METRICS = (
    '{{"update": {u}, "rollouts": 10, "steps": 300, "reward_mean": -3.0, "reward_min": -5, "reward_max": -1, '
    '"reward_mean_100": -3.0, "loss": 1.5, "gradient_norm": 0.25, "points_won": 0, "points_lost": 30, '
    '"steps_per_s": 2000.0, "wall_time_s": {s}, "weights_digest": "{digest}", "array_digests": {{"W1": "{u:032x}", '
    '"W2": "{u:032x}", "cache_W1": "{u:032x}", "cache_W2": "{u:032x}"}}}}\n'
)
_ROLLOUT = (
    '{{"update": {u}, "index": {i}, "reward": -3, "steps": 30, "points_won": 0, "points_lost": 3, "loss": 1.5, '
    '"weights": "{u:032x}", "digest": "{d:032x}", "arrays": {{"actions": "{d:032x}", "rewards": "{d:032x}", '
    '"W1": "{d:032x}", "W2": "{d:032x}"}}}}\n'
)


def settings_of(directory: Path) -> Settings:
    """Of such a run, resumed."""
    return small_settings(directory, batch_size=BATCH, updates=10**9, resume=True)


def make(directory: Path, updates: int) -> Path:
    """A run of so many updates."""
    first = initial_state.from_seed(settings_of(directory))
    directory.mkdir()
    config.write(directory, {"settings": settings_of(directory).lasting()}, first.digest())
    states = {update: State(update, first.weights, first.optimizer) for update in (updates - 1, updates)}
    for state in states.values():
        Checkpoints(directory / "checkpoints").save(state)
    with (directory / METRICS).open("w") as metrics, (directory / ROLLOUTS).open("w") as rollouts:
        for update in range(1, updates + 1):
            rollouts.writelines(_ROLLOUT.format(u=update, i=index, d=11 * update + index) for index in range(BATCH))
            line = _METRICS.format(u=update, s=1.5 * update, digest=f"{update:064x}")
            if update in states:
                line = json.dumps(json.loads(line) | states[update].digests()) + "\n"
            metrics.write(line)
    return directory


# ---- what is measured -------------------------------------------------------------------------------------------


def resume(run: Path) -> None:
    """Open a run, find the state to go on from, and check and commit one update more."""
    diary, settings = Diary(), settings_of(run)
    with open_for_writing(opening(settings), diary.note) as opened:
        recorder = Recorder(settings, opened, diary)
        state = recorder.restore()
        assert state.update == opened.ledger.last_update > 0
        assert len(opened.ledger.last_rewards(state.update, 100)) == 100
        assert opened.ledger.entry(state.update + 1).number == 0
    assert Counter(diary.notes).total() <= 1


def replay(run: Path) -> None:
    """Replay the last update; its rollouts cost nothing."""
    last = Run.open(run).ledger.last_update

    def compute_update(settings: Settings, state: State, game: object) -> tuple[State, SimpleNamespace]:
        records = [RolloutRecord(**line) for line in Run.open(run).ledger.entry(last).rollouts.values()]
        return State(last, state.weights, state.optimizer), SimpleNamespace(records=records)

    replayer.compute_update = compute_update
    told: list[str] = []
    assert replayer.Replayer(run, told.append).update(last).startswith(f"the same: update {last}, recomputed after")
    assert told == []


def compare(run: Path, other: Path) -> None:
    """Compare it with another."""
    agreed = comparison.compare(Run.open(run), Run.open(other), (), print)
    assert agreed.last == agreed.updates == Run.open(run).ledger.last_update


def page(run: Path, file: Path) -> None:
    """The report's page, and a learning curve."""
    report_page.write(verdicts.make([run]), file, CHARTS.curve)
    assert file.stat().st_size < 5_000_000
    assert len(learning_curve.read(run).reward) == Run.open(run).ledger.last_update


def check(run: Path) -> None:
    """The ledger's order."""
    assert irregularities(run) == []


if __name__ == "__main__":
    _began = time.monotonic()
    globals()[sys.argv[1]](*map(Path, sys.argv[2:]))
    print(time.monotonic() - _began, peak() / 2**20)
