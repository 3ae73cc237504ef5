"""Replay: what a run recorded is recomputed, on this process without Ray, and compared to the bit.

A replay starts at the nearest checkpoint before, compares that with the ledger, and each update on the way with its
line and its rollouts' lines. What has no sound record is said and not compared.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from bitexact.cli.exits import BadInput, Differs
from bitexact.cli.progress import bar
from bitexact.determinism import process
from bitexact.storage.checkpoints import BadCheckpoint
from bitexact.storage.comparison import first_difference
from bitexact.storage.ledger import Entry
from bitexact.storage.run import Run, WrongBeginning
from bitexact.storage.state import State
from pong import film
from pong.play import RolloutId, play
from training import initial_state, run_config
from training.batch import Batch
from training.rollout_task import task_of
from training.settings import read_settings
from training.update import compute_update


class Replayer:
    """One run's past, recomputed. Each of its verbs returns the verdict as a sentence, and raises Differs."""

    def __init__(self, path: Path, tell: Callable[[str], None]) -> None:
        self._run = Run.open(path)
        self._settings = read_settings(path)
        self._tell = tell
        chosen = self._settings.game()
        run_config.expect_game(self._run.config, chosen, path)
        self._game = chosen.make()
        self._updates_compared = self._checkpoints_met = 0
        for sentence in self._run.ledger.damage:
            tell(sentence)
        if differences := self._run.other_versions():
            tell(f"note: the run was made with other package versions: here is {differences}")
        if different := run_config.difference_of_code(self._run.config, chosen):
            tell(f"note: the run was made with other code: here differs {different}")
        if not process.keep_denormals():
            raise BadInput("this process flushes denormal numbers to zero: its bits would differ.")
        self._initial = self._first_state()

    def everything(self) -> str:
        """Recompute all updates from the first one, and compare the checkpoints met on the way."""
        last = self._run.ledger.last_update
        if not last:
            raise BadInput(f"{self._run.path} holds no update yet: there is nothing to replay.")
        state = self._replayed(self._initial, last)
        count = f"{self._updates_compared} updates and {self._checkpoints_met} checkpoints on the way"
        return f"the same: {count}, weights digest {state.digest()}"

    def update(self, update: int) -> str:
        """Recompute one update, and those between it and the checkpoint before it."""
        verdict = self._verdict(update)
        start = self._state_at_most(update - 1)
        state = self._replayed(start, update)
        return f"{verdict}: update {update}, recomputed after update {start.update}, weights digest {state.digest()}"

    def rollout(self, update: int, index: int, video: Path | None, trace: Path | None) -> str:
        """Recompute one rollout; film and trace it where asked to."""
        verdict, recorded = self._verdict(update), self._run.ledger.entry(update).rollouts.get(index)
        is_new = update > self._run.ledger.last_update and 0 <= index < self._settings.batch_size
        if recorded is None and not is_new:
            raise BadInput(f"{self._run.path} has no record of rollout {index} of update {update}.")
        state = self._replayed(self._state_at_most(update - 1), update - 1)
        rollout_id = RolloutId(self._settings.seed, update, index)
        self._show(state, rollout_id, video, trace)
        _, record = task_of(self._settings).run(self._game, state.weights, rollout_id)
        recomputed = record.line()
        self._expect_none(
            first_difference(Entry({}, {index: recomputed}), Entry({}, {index: recorded or recomputed})), update
        )
        return (
            f"{verdict}: rollout {index} of update {update}, reward {record.reward:+d} "
            f"in {record.steps} steps, digest {record.digest}"
        )

    def _first_state(self) -> State:
        try:
            return self._run.first_state(initial_state.from_seed(self._settings))
        except BadCheckpoint as bad:
            raise Differs(f"{bad}: the run began with it.") from None
        except WrongBeginning:
            what = f"its settings do not give its initial weights (seed {self._settings.seed})"
            raise Differs(f"{self._run.path}: {what}.") from None

    def _show(self, state: State, rollout_id: RolloutId, video: Path | None, trace: Path | None) -> None:
        if not (video or trace):
            return
        trajectory = play(self._game, state.weights, rollout_id)
        if trace:
            film.write_trace(trace, trajectory)
        if video:
            film.write_video(video, trajectory, rollout_id, self._game)

    def _verdict(self, update: int) -> str:
        """What to call an update that comes out without a difference. Raises BadInput for one that nobody can know."""
        last = self._run.ledger.last_update
        if self._run.ledger.digest(update):
            return "the same"
        if update == last + 1:
            return f"not recorded, the ledger ends at update {last}"
        raise BadInput(f"{self._run.path} has no sound record of update {update}; its last is {last}.")

    def _state_at_most(self, update: int) -> State:
        """The nearest state up to an update that need not be computed."""
        state = self._run.checkpoints.newest_good(self._initial, update, self._tell) or self._initial
        self._compare_checkpoint(state, self._run.ledger.entry(state.update))
        return state

    def _replayed(self, state: State, last: int) -> State:
        """The state after an update, with each on the way recomputed and compared with its record."""
        updates = range(state.update + 1, last + 1)
        for recorded in bar(self._recorded(updates), "replaying", total=len(updates)):
            state, batch = compute_update(self._settings, state, self._game)
            self._compare(state, batch, recorded)
        return state

    def _recorded(self, updates: range) -> Iterable[Entry]:
        """What is recorded of some updates; an empty entry where nothing is."""
        entries = iter(self._run.ledger.entries(updates.start))
        entry = next(entries, None)
        for update in updates:
            while entry is not None and entry.number < update:
                entry = next(entries, None)
            yield entry if entry is not None and entry.number == update else Entry({}, {})

    def _compare(self, state: State, batch: Batch, recorded: Entry) -> None:
        recomputed = Entry(state.digests(), {record.index: record.line() for record in batch.records})
        self._updates_compared += bool(recorded.metrics)
        known = self._completed(state.update, recorded, recomputed)
        self._expect_none(first_difference(recomputed, known), state.update)
        if self._run.checkpoints.path(state.update).exists():
            try:
                self._compare_checkpoint(self._run.checkpoints.load(state.update, state), recorded)
                self._checkpoints_met += 1
            except BadCheckpoint as bad:
                self._tell(str(bad))

    def _completed(self, update: int, recorded: Entry, recomputed: Entry) -> Entry:
        """The record of an update. What it lacks is said, and stands in it as recomputed: no line is no difference."""
        lacking = [f"rollout {index}" for index in recomputed.rollouts if index not in recorded.rollouts]
        lacking += [] if recorded.metrics else ["its digest"]
        if lacking:
            self._tell(f"not compared in update {update}, for want of a sound record: {', '.join(lacking)}")
        return Entry(recorded.metrics or recomputed.metrics, recomputed.rollouts | recorded.rollouts)

    def _compare_checkpoint(self, state: State, recorded: Entry) -> None:
        if not recorded.metrics:
            return
        if difference := first_difference(Entry(state.digests(), {}), Entry(recorded.metrics, {})):
            path = self._run.checkpoints.path(state.update)
            raise Differs(f"{path} differs from the ledger's update {state.update}: {difference}.")

    def _expect_none(self, difference: str, update: int) -> None:
        if difference:
            raise Differs(f"{self._run.path}: update {update} differs from its record: {difference}.")
