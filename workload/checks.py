"""What the test commands do, one function each: all of them take a run directory, and raise `exits.Ended` for a bug.

The files of the test template (workload/template) call these by name; the tests call them too. Each decision is drawn
from the SDK's randomness at the moment it is needed, so that the platform can steer it.
"""

import contextlib
import dataclasses
import json
import os
import subprocess
import time
from pathlib import Path

import psutil
from antithesis.random import random_choice

import invariants
from bitexact.cli.exits import BadInput, Differs
from bitexact.storage import durable
from bitexact.storage.ledger import METRICS, Ledger, irregularities
from bitexact.storage.run import Run
from bitexact.storage.run_directory import LOCK, open_for_writing
from pong.evaluation import EvaluationTask, evaluation_id
from pong.game import Pong
from training import initial_state
from training.replayer import Replayer
from training.run_config import opening
from training.settings import read_settings
from workload import disturbance, scenario
from workload.copies import copied

BEGIN_TIMEOUT_S = 300.0
ADVANCE_TIMEOUT_S = 300.0  # the cluster may be down when faults stop: time to find together again, and for two updates
SAMPLE, SAMPLE_TIMEOUT_S = 3, 120.0
ENDING_S = 60.0  # a driver that has let go of its run ends: at once, but where it is frozen meanwhile
QUIET_S = 180  # the head may have been killed just before: then each node joins anew, and the driver after them
_LOOK_EVERY_S = 1.0


def scenario_begins(run: Path) -> str:
    """Draw what this timeline is about, and wait for its first update: what other commands look at is there then."""
    drawn = scenario.draw()
    invariants.it_happens("scenario_drawn", dataclasses.asdict(drawn))
    last = _wait_for_update(run.with_name(scenario.RUN), 1, BEGIN_TIMEOUT_S)
    invariants.training_advances(last >= 1, {"update": last})
    return f"training has begun, {' '.join(drawn.flags())}: update {last}"


def training_advances(run: Path) -> str:
    """Once nothing is disturbed any more, wait for two more updates."""
    before = Ledger(run).last_update
    last = _wait_for_update(run, before + 2, ADVANCE_TIMEOUT_S)
    invariants.training_advances(last >= before + 2, {"update": last})
    return f"training advanced from update {before} to {last}"


def recovers_in_quiet(run: Path) -> str:
    """Ask for a period without faults, and wait for one more update in it."""
    stop_faults = os.environ.get("ANTITHESIS_STOP_FAULTS")
    if not stop_faults:
        return "nobody is here to ask for a quiet period"
    subprocess.run([stop_faults, str(QUIET_S)], check=True, timeout=30.0, stdout=subprocess.DEVNULL)
    before = Ledger(run).last_update
    last = _wait_for_update(run, before + 1, QUIET_S)
    invariants.training_advances(last > before, {"update": last})
    return f"in a quiet period, training advanced from update {before} to {last}"


def check_ledger(run: Path) -> str:
    """Read the ledger: no gap, no repetition, and nothing lost or changed of what any such command has seen in it."""
    memory = run.with_name(f"{run.name}-seen.json")
    seen = json.loads(memory.read_bytes()) if memory.exists() else {}
    last = _wait_for_update(run, max(map(int, seen), default=0) + 1, timeout_s=10.0)
    now, where = {str(update): digest for update, digest in _digests(Ledger(run)).items()}, {"update": last}
    invariants.what_was_committed_stays([update for update in seen if now.get(update) != seen[update]], where)
    invariants.a_ledger_holds_each_update_once(irregularities(run), where)
    durable.write_atomically(memory, json.dumps(now).encode())
    return f"the ledger is in order up to update {last}, and {len(seen)} updates seen before are as they were"


def evaluate_checkpoint(run: Path) -> str:
    """Play a game with the newest checkpoint, and hold the rewards to the game's own score."""
    settings = read_settings(run)
    initial = initial_state.from_seed(settings)
    state = Run.open(run).newest_state(initial, print) or initial
    index, greedy = random_choice(list(range(100))), random_choice([False, True])
    game = Pong(settings.sticky_actions)
    _, result = EvaluationTask(greedy).run(game, state.weights, evaluation_id(settings.seed, index))
    return f"checkpoint of update {state.update}: {result.points_for} : {result.points_against} in {result.steps} steps"


def replay_update(run: Path) -> str:
    """Take a copy of the run directory as it is just now: it can be resumed, and an update of it be recomputed."""
    with copied(run) as copy:
        return f"of a copy resumed after update {_resumable(copy)}, {_replay(copy)}"


def second_driver(run: Path) -> str:
    """Open the run as another driver would: refused, while the first one lives."""
    first = _living_driver(run)
    try:
        asked = opening(dataclasses.replace(read_settings(run), resume=True, run_dir=run))
    except BadInput:
        return "there is no run yet"
    try:
        with open_for_writing(asked, print):
            pass
    except BadInput as refusal:
        invariants.a_second_driver_is_refused(True, {"said": str(refusal)})
        return f"refused: {refusal}"
    deadline = time.monotonic() + ENDING_S
    while first and first.is_running() and first.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)  # it has let go of the run, so it is ending
    lives = first is not None and first.is_running() and time.monotonic() >= deadline
    invariants.a_second_driver_is_refused(not lives, {"first": first.pid if first else 0})
    return "there was no driver to be refused for"


def _living_driver(run: Path) -> psutil.Process | None:
    """The driver that holds a run, by the lock's own word."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        number = int((run / LOCK).read_text().split()[2])
        return next((one for one in disturbance.processes("driver") if one.pid == number), None)
    return None


def _resumable(copy: Path) -> int:
    """The update after which a copy would be resumed; 0 if nothing is recorded yet."""
    try:
        settings = dataclasses.replace(read_settings(copy), resume=True, run_dir=copy)
    except BadInput:
        return 0
    with open_for_writing(opening(settings), print) as resumed:
        state, recorded = resumed.restore(print), Ledger(copy)
        bears_out = state.update == 0 or state.digest() == recorded.digest(state.update)
        invariants.a_copy_can_be_resumed(bears_out, {"update": state.update, "ledger": recorded.last_update})
    return state.update


def _replay(run: Path) -> str:
    """Recompute one recorded update, drawn among those that follow a checkpoint closely."""
    updates = _updates_near_a_checkpoint(run)
    if not updates:
        return "nothing is recorded yet"
    update, difference = random_choice(updates), ""
    try:
        print(Replayer(run, print).update(update))
    except Differs as found:
        difference = str(found)
    invariants.it_happens("update_replayed", {"update": update, "difference": difference})
    invariants.a_recorded_update_can_be_replayed(difference, {"update": update})
    return f"update {update} was replayed"


def replay_sample(run: Path) -> str:
    """At the end: recompute a random sample of updates, within a bound of time, and check the ledger's order."""
    began, replayed = time.monotonic(), 0
    while replayed < SAMPLE and time.monotonic() - began < SAMPLE_TIMEOUT_S:
        _replay(run)
        replayed += 1
    invariants.a_ledger_holds_each_update_once(irregularities(run), {"update": Ledger(run).last_update})
    return f"{replayed} updates were replayed, and the ledger is in order"


def _updates_near_a_checkpoint(run: Path) -> list[int]:
    """The recorded updates that take no more to recompute than lies between two checkpoints."""
    try:
        recorded, every = Run.open(run), read_settings(run).checkpoint_every
    except BadInput:
        return []  # the run has not begun
    starts = [0, *recorded.checkpoints.updates()]
    near = {update for start in starts for update in range(start + 1, start + every + 1)}
    return sorted(near & _digests(recorded.ledger).keys())


def _digests(ledger: Ledger) -> dict[int, str]:
    """The digest of each recorded update."""
    return {line["update"]: line["weights_digest"] for line in ledger.lines(METRICS)}


def _wait_for_update(run: Path, update: int, timeout_s: float) -> int:
    """Wait until a run has committed an update, or for as long as that; returns its last update."""
    deadline = time.monotonic() + timeout_s
    while True:
        last = Ledger(run).last_update
        if last >= update or time.monotonic() > deadline:
            return last
        time.sleep(_LOOK_EVERY_S)  # another container writes the ledger: there is nothing here to wait on
