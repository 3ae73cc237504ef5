"""Training under real faults: whatever is killed, frozen or torn, it must end in the digest of a run without faults.

    python -m workload.faults                               30 faults, some minutes
    python -m workload.faults --faults 500 --seed 7         the same faults for the same seed
    python -m workload.faults --faults 500 --minutes 30     as many of them as 30 minutes hold
    python -m workload.faults --profile published           in the proportions of a large training's interruptions

A cluster of three nodes is started on this machine, as processes of Ray's own. `driver.py` trains on it, again and
again from the beginning, while actors, nodes and the driver itself are killed, frozen, torn and brought back at a drawn
pace. Every update that it commits is compared at once with that of a run without Ray and without faults; every
training's ledger must hold each update once. What each fault does: docs/faults.md.

Exit codes: 0 every digest is equal, 1 a digest differs, a property failed or training came to a halt, 2 bad input,
3 the local cluster could not be started; others as every command's (bitexact/cli/exits.py, and --help).
"""

import math
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput, Differs, PropertyFailed
from bitexact.cli.interrupts import Interrupts
from bitexact.reporting import verdicts
from bitexact.storage.comparison import first_difference
from bitexact.storage.ledger import Entry, Ledger, irregularities
from training import initial_state
from training.settings import REINFORCE, Preset, Settings, of_preset
from training.update import compute_update
from workload.driver_process import Commit, DriverProcess
from workload.fault_accounts import Accounts
from workload.fault_injection import Injector
from workload.fault_schedule import NODES_AT_FIRST, ROLLOUT_TIMEOUT_S, Fault, Profile, draw
from workload.local_cluster import LocalCluster

_LOOK_EVERY_S = 0.05
_HALT_S = 300.0  # longer than all that the driver waits for in its turn: an actor's start, a node
_MOST_ENDS = 20  # of drivers that end by themselves, before that is taken for the rule

# Small and weak, so that a game is short and stays short: there is much to break in little time.
_TRAINING: dict[str, Any] = {"batch_size": 4, "hidden_units": 16, "learning_rate": 1e-4, "checkpoint_every": 3}
_TRAINING |= {"rollout_timeout_s": ROLLOUT_TIMEOUT_S, "cluster_timeout_s": 45.0}


@dataclass(frozen=True)
class Arguments:
    """Train under faults, and compare every digest with a run without them."""

    faults: Annotated[int, tyro.conf.arg(metavar="N")] = 30
    """How many faults."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Decides every fault, and the training."""
    updates: Annotated[int, tyro.conf.arg(metavar="U")] = 40
    """Updates of a training. It is begun anew until the faults are used up."""
    profile: Profile = "even"
    """In which proportions the kinds come up: even, or published, those of a large training."""
    minutes: Annotated[float | None, tyro.conf.arg(metavar="M")] = None
    """Stop with the faults after M minutes, however many are left."""
    preset: Preset = REINFORCE
    """How the trainings learn: as in driver.py."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="DIR")] = None
    """Where the trainings and the drivers' logs are kept; without it, runs/faults-<seed>-<time>."""

    def check(self) -> None:
        """Raise BadInput for values that cannot be used."""
        for name in ("faults", "updates"):
            if getattr(self, name) < 1:
                raise BadInput(f"--{name} must be a whole number from 1, not {getattr(self, name)}.")
        if self.minutes is not None and not 0.0 < self.minutes < math.inf:
            raise BadInput(f"--minutes must be a finite number above 0, not {self.minutes}.")
        self.settings().check()
        if self.run_dir and self.run_dir.exists() and (not self.run_dir.is_dir() or any(self.run_dir.iterdir())):
            raise BadInput(f"{self.run_dir} is in use: choose another --run-dir.")

    @property
    def directory(self) -> Path:
        """The folder of the trainings."""
        return (self.run_dir or Path("runs") / f"faults-{self.seed}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()

    def settings(self) -> Settings:
        """Those of the trainings."""
        return of_preset(self.preset, **_TRAINING, seed=self.seed, updates=self.updates, run_dir=self.directory)

    def command(self) -> str:
        """The command that repeats this."""
        names = ("faults", "seed", "updates", "preset", "profile")
        values = {name: getattr(self, name) for name in names}
        return shlex.join(["python", "-m", "workload.faults", *(f"--{name}={value}" for name, value in values.items())])


def main(arguments: Sequence[str]) -> None:
    """Compute the digests without faults, then train under faults. Raises Differs, PropertyFailed, ClusterLost."""
    chosen = command_line.parse(Arguments, arguments, "python -m workload.faults")
    chosen.check()
    Interrupts()  # until the end: Ray puts no handlers of its own here
    settings = chosen.settings()
    try:
        settings.directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{settings.directory} cannot be made ({error.strerror}): choose another --run-dir.") from None
    _say(f"trainings and drivers' logs: {settings.directory}")
    reference = compute_without_faults(settings)
    with LocalCluster(NODES_AT_FIRST) as cluster:
        workload = Workload(cluster, settings, reference, chosen.minutes)
        try:
            workload.run(draw(chosen.seed, chosen.faults, chosen.profile))
        except (Differs, PropertyFailed) as end:
            end.args = (f"{end} Repeat with: {chosen.command()}",)
            raise
        finally:
            workload.print_table()
    _say(f"digests equal: {workload.verdict()} Repeat with: {chosen.command()}")


def compute_without_faults(settings: Settings) -> dict[int, Entry]:
    """What the ledger must hold, by update: computed here, one rollout after the other, without Ray."""
    state, game, entries = initial_state.from_seed(settings), settings.game().make(), {}
    while state.update < (settings.updates or 0):
        state, batch = compute_update(settings, state, game)
        entries[state.update] = Entry(state.digests(), {record.index: record.line() for record in batch.records})
        if state.update % 10 == 0:
            _say(f"without faults: update {state.update} of {settings.updates}, digest {state.digest()[:12]}")
    return entries


def check_ledger(directory: Path, reference: dict[int, Entry]) -> None:
    """A complete training's ledger holds each update and rollout once, and as without faults. Raises Differs."""
    ledger, irregular = Ledger(directory), irregularities(directory)
    updates = [entry.number for entry in ledger.entries() if entry.metrics]
    if irregular or updates != list(reference):
        what = "; ".join(irregular) or f"its updates are {updates}"
        raise Differs(f"{directory} does not hold updates 1 to {len(reference)} once each: {what}.")
    for update in reference:
        difference = first_difference(reference[update], ledger.entry(update))
        if difference:
            raise Differs(f"{directory}: update {update} differs from the one without faults: {difference}.")


class Workload:
    """Trainings one after the other, the faults that strike them, and what became of both."""

    def __init__(
        self, cluster: LocalCluster, settings: Settings, reference: dict[int, Entry], minutes: float | None
    ) -> None:
        self._cluster, self._settings, self._reference = cluster, settings, reference
        self._injector = Injector(cluster)
        self._began = time.monotonic()
        self._faults_until = self._began + 60.0 * (minutes or math.inf)
        self._trainings: list[DriverProcess] = []
        self._completed = 0
        self._is_last = False
        self._accounts = Accounts()
        self._last_sign = self._began  # of life: a commit, or a fault
        self._driver_ends = 0

    # ---- the course of it ----

    def run(self, faults: Sequence[Fault]) -> None:
        """Train until all faults have struck, and the training that the last of them struck is complete."""
        self._next_training()
        for fault in faults:
            if fault.waits_for_update:
                self._wait_for_new_update()
            self._let_pass(fault.delay_s)
            if not self._strike(fault, len(faults)):
                break
            self._let_pass(fault.rest_s)
            self._wait_for(lambda: not self._cluster.head_is_frozen, "the driver to give the frozen head up")
        while self._cluster.node_count < NODES_AT_FIRST:  # not a fault: the last one may have taken the last node
            self._cluster.add_node()
        self._is_last = True
        self._wait_for(lambda: self._completed == len(self._trainings), "the end of the training")
        self._check_properties()

    def _strike(self, fault: Fault, count: int) -> bool:
        """Wait until there is something to strike at, and strike, unless the time for faults is over."""
        met = ""
        while not met:
            self._wait_for(lambda: self._injector.can_strike(fault, self._training), "something to strike at")
            if time.monotonic() > self._faults_until:
                return False
            met = self._injector.strike(fault, self._training)
        self._accounts.struck(fault)
        self._last_sign = time.monotonic()
        where = f"training {len(self._trainings)}, after update {self._training.last_update}"
        self._tell(f"fault {fault.number} of {count}: {fault.kind.value} ({met}), {where}")
        return True

    def _let_pass(self, seconds: float) -> None:
        due = time.monotonic() + seconds
        self._wait_for(lambda: time.monotonic() >= due, "time to pass")

    def _wait_for_new_update(self) -> None:
        before = self._accounts.updates
        self._wait_for(lambda: self._accounts.updates > before, "a new update")

    def _wait_for(self, holds: Callable[[], bool], what: str) -> None:
        """Look after everything until something holds. Raises PropertyFailed when training has come to a halt."""
        while not holds():
            time.sleep(_LOOK_EVERY_S)
            for raylet in self._cluster.replace_dead_nodes():
                self._tell(f"a node ended by itself, and is replaced (raylet {raylet})")
            exit_code = self._training.exit_code()  # asked before its last commits are taken in
            for commit in self._training.new_commits():
                self._take_in(commit)
            if exit_code is not None:
                self._driver_ended(exit_code)
            if time.monotonic() - self._last_sign > _HALT_S:
                raise PropertyFailed(
                    f"training {len(self._trainings)} came to a halt: {_HALT_S:g} s without an update, waiting for "
                    f"{what}; the driver's last words: {self._training.last_words}"
                )

    def _take_in(self, commit: Commit) -> None:
        self._last_sign = commit.at_s
        self._accounts.committed(commit)
        if not (self._reference[commit.update].digest or "").startswith(commit.digest):
            raise Differs(f"training {len(self._trainings)} differs: {self._difference(commit.update)}.")

    def _driver_ended(self, exit_code: int) -> None:
        """Check a training that is complete, and begin the next; go on with one that is not."""
        last_words, was_frozen = self._training.last_words, self._cluster.thaw_head()
        gave_up = was_frozen and exit_code == 3 and "--resume" in last_words
        if exit_code in (1, 6) or (was_frozen and exit_code and not gave_up):  # a property, a bug, or not as promised
            raise PropertyFailed(f"training {len(self._trainings)} ended with exit code {exit_code}: {last_words}")
        if exit_code == 0:
            check_ledger(self._training.directory, self._reference)
            self._accounts.completed()
            self._completed += 1
            self._tell(f"training {self._completed} is complete: every digest is as without faults")
            if not self._is_last:
                self._next_training()
            return
        self._driver_ends += not gave_up
        self._tell(f"the driver ended by itself with exit code {exit_code}, and is resumed: {last_words}")
        if self._driver_ends > _MOST_ENDS:
            raise PropertyFailed(f"the driver ended by itself {self._driver_ends} times, last with: {last_words}")
        self._training.start()

    @property
    def _training(self) -> DriverProcess:
        return self._trainings[-1]

    def _next_training(self) -> None:
        folder = self._settings.directory / f"training-{len(self._trainings) + 1:03d}"
        self._trainings.append(DriverProcess(replace(self._settings, run_dir=folder, address=self._cluster.address)))
        self._training.start()
        self._accounts.began(time.monotonic())

    # ---- what must hold ----

    def _difference(self, update: int) -> str:
        """What the ledger says of an update whose digest was not as expected, in words."""
        entry = Ledger(self._training.directory).entry(update)
        return f"update {update}, {first_difference(self._reference[update], entry) or 'when it was done again'}"

    def _check_properties(self) -> None:
        """No process of any training saw a property fail. Raises PropertyFailed."""
        seen = verdicts.make([training.directory for training in self._trainings])
        _say(seen.summary())
        for verdict in seen.verdicts:
            if verdict.status == verdicts.FAILED:
                raise PropertyFailed(f"property failed: {verdict.declared.claim} ({verdict.details})")

    # ---- what is said ----

    def print_table(self) -> None:
        """What became of the faults so far."""
        Console(width=120).print(self._accounts.table())
        _say(f"time in progress: {self._accounts.progress_share():.1%} of the time between updates")

    def verdict(self) -> str:
        """The last line's middle."""
        updates = self._settings.updates or 0
        digest = self._reference[updates].digest or ""
        return (
            f"{len(self._accounts.outcomes)} faults; trainings complete: {self._completed}, each with digest {digest} "
            f"after update {updates}."
        )

    def _tell(self, text: str) -> None:
        _say(f"{time.monotonic() - self._began:7.1f} s  {text}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    exits.run(main)
