"""What the test commands do, one function each: all of them take a run directory, and raise `exits.Ended` for a bug.

The files of the test template (workload/template) call these by name; the tests call them too. Each decision is drawn
from the SDK's randomness at the moment it is needed, so that the platform can steer it.
"""

import dataclasses
import os
import subprocess
import time
from pathlib import Path

from antithesis.random import random_choice

import invariants
from bitexact.cli.exits import BadInput, Differs
from bitexact.storage.ledger import METRICS, Ledger, irregularities
from bitexact.storage.run import Run
from pong.evaluation import EvaluationTask, evaluation_id
from pong.game import Pong
from training import initial_state
from training.replayer import Replayer
from training.settings import read_settings
from workload import scenario

BEGIN_TIMEOUT_S = 300.0
ADVANCE_TIMEOUT_S = 300.0  # the cluster may be down when faults stop: time to find together again, and for two updates
SAMPLE, SAMPLE_TIMEOUT_S = 3, 120.0
QUIET_S = 180  # the head may have been killed just before: then each node joins anew, and the driver after them
QUIET_ONE_IN = 8
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
    """Now and then, ask for a period without faults, and wait for one more update in it."""
    stop_faults = os.environ.get("ANTITHESIS_STOP_FAULTS")
    if not stop_faults or random_choice(list(range(QUIET_ONE_IN))):
        return "no quiet period was asked for"
    subprocess.run([stop_faults, str(QUIET_S)], check=True, timeout=30.0, stdout=subprocess.DEVNULL)
    before = Ledger(run).last_update
    last = _wait_for_update(run, before + 1, QUIET_S)
    invariants.training_advances(last > before, {"update": last})
    return f"in a quiet period, training advanced from update {before} to {last}"


def check_ledger(run: Path) -> str:
    """Read the ledger twice: no gap, no repetition, and nothing taken back."""
    before = _digests(Ledger(run))
    last = _wait_for_update(run, max(before, default=0) + 1, timeout_s=10.0)
    after, found = _digests(Ledger(run)), irregularities(run)
    changed = [update for update in before if after.get(update) != before[update]]
    found += [f"the record of update {update} has changed" for update in changed]
    invariants.a_ledger_holds_each_update_once(found, {"update": last})
    return f"the ledger is in order up to update {last}"


def evaluate_checkpoint(run: Path) -> str:
    """Play a game with the newest checkpoint, and hold the rewards to the game's own score."""
    settings = read_settings(run)
    initial = initial_state.from_seed(settings)
    state = Run.open(run).newest_state(initial, print) or initial
    index, greedy = random_choice(list(range(100))), random_choice([False, True])
    _, result = EvaluationTask(greedy).run(Pong(), state.weights, evaluation_id(settings.seed, index))
    return f"checkpoint of update {state.update}: {result.points_for} : {result.points_against} in {result.steps} steps"


def replay_update(run: Path) -> str:
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
        replay_update(run)
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
