"""A run's past, recomputed on one process without Ray, and compared with what was recorded."""

from pathlib import Path

from bitexact.cli.exits import BadInput, Differs
from bitexact.cli.progress import bar
from bitexact.determinism import process, versions
from bitexact.storage import config
from bitexact.storage.checkpoints import BadCheckpoint, Checkpoints
from bitexact.storage.ledger import Entry, Ledger, first_difference
from bitexact.storage.run_directory import CHECKPOINTS
from bitexact.storage.state import State
from pong import film
from pong.game import Pong
from pong.play import RolloutId, play
from training import initial_state
from training.batch import Batch
from training.rollout_task import task_of
from training.settings import read_settings
from training.update import compute_update


class Replayer:
    """One run's past, recomputed."""

    def __init__(self, directory: Path) -> None:
        recorded = config.read(directory)
        self._directory = directory
        self._settings = read_settings(directory)
        self._ledger = Ledger(directory)
        self._checkpoints = Checkpoints(directory / CHECKPOINTS)
        self._game = Pong()
        self._checkpoints_met = 0
        for sentence in self._ledger.damage:
            print(sentence)
        differences = versions.differences(versions.installed(), recorded["versions"])
        if differences:
            print(f"note: the run was made with other package versions: here is {differences}")
        if not process.keep_denormals():
            raise BadInput("this process flushes denormal numbers to zero: its bits would differ.")
        try:
            self._initial = self._checkpoints.first(initial_state.from_seed(self._settings))
        except BadCheckpoint as bad:
            raise Differs(f"{bad}: the run began with it.") from None
        if self._initial.digest() != recorded["initial_digest"]:
            raise Differs(f"{directory}: its settings do not give its initial weights (seed {self._settings.seed}).")

    def everything(self) -> None:
        """Recompute all updates from the first one, and compare the checkpoints met on the way."""
        last = self._ledger.last_update
        if not last:
            raise BadInput(f"{self._directory} holds no update yet: there is nothing to replay.")
        state = self._replayed(self._initial, range(1, last + 1))
        count = f"{len(self._ledger.updates)} updates and {self._checkpoints_met} checkpoints on the way"
        print(f"the same: {count}, weights digest {state.digest()}")

    def update(self, update: int) -> None:
        """Recompute one update, and those between it and the checkpoint before it."""
        verdict = self._verdict(update)
        start = self._state_at_most(update - 1)
        state = self._replayed(start, range(start.update + 1, update + 1))
        print(f"{verdict}: update {update}, recomputed after update {start.update}, weights digest {state.digest()}")

    def rollout(self, update: int, index: int, video: Path | None, trace: Path | None) -> None:
        """Recompute one rollout; film and trace it where asked to."""
        verdict, recorded = self._verdict(update), self._ledger.rollouts.get(update, {}).get(index)
        is_new = update > self._ledger.last_update and 0 <= index < self._settings.batch_size
        if recorded is None and not is_new:
            raise BadInput(f"{self._directory} has no record of rollout {index} of update {update}.")
        start = self._state_at_most(update - 1)
        state = self._replayed(start, range(start.update + 1, update))
        rollout_id = RolloutId(self._settings.seed, update, index)
        if video or trace:
            trajectory = play(self._game, state.weights, rollout_id)
            if trace:
                film.write_trace(trace, trajectory)
            if video:
                film.write_video(video, trajectory, rollout_id)
        _, record = task_of(self._settings).run(self._game, state.weights, rollout_id)
        nothing, recomputed = {"weights_digest": ""}, vars(record)
        difference = first_difference(
            Entry(nothing, {index: recomputed}), Entry(nothing, {index: recorded or recomputed})
        )
        if difference:
            raise Differs(f"{self._directory}: update {update} differs from its record: {difference}.")
        print(
            f"{verdict}: rollout {index} of update {update}, reward {record.reward:+d} "
            f"in {record.steps} steps, digest {record.digest}"
        )

    def _verdict(self, update: int) -> str:
        """What to call an update that comes out without a difference. Raises BadInput for one that nobody can know."""
        last = self._ledger.last_update
        if update in self._ledger.updates:
            return "the same"
        if update == last + 1:
            return f"not recorded, the ledger ends at update {last}"
        raise BadInput(f"{self._directory} has no sound record of update {update}; its last is {last}.")

    def _state_at_most(self, update: int) -> State:
        """The nearest state up to an update that need not be computed."""
        state = self._checkpoints.newest_good(self._initial, update, print) or self._initial
        self._compare_checkpoint(state)
        return state

    def _replayed(self, state: State, updates: range) -> State:
        """The state after some updates, each recomputed and compared with its record."""
        for _ in bar(updates, "replaying", total=len(updates)):
            state, batch = compute_update(self._settings, state, self._game)
            self._compare(state, batch)
        return state

    def _compare(self, state: State, batch: Batch) -> None:
        recomputed = Entry(state.digests(), {record.index: vars(record) for record in batch.records})
        difference = first_difference(recomputed, self._recorded(state.update, recomputed))
        if difference:
            raise Differs(f"{self._directory}: update {state.update} differs from its record: {difference}.")
        if state.update in self._checkpoints.updates():
            try:
                self._compare_checkpoint(self._checkpoints.load(state.update, state))
                self._checkpoints_met += 1
            except BadCheckpoint as bad:
                print(bad)

    def _recorded(self, update: int, recomputed: Entry) -> Entry:
        """The record of an update. What it lacks is said, and stands in it as recomputed: no line is no difference."""
        line, rollouts = self._ledger.updates.get(update), self._ledger.rollouts.get(update, {})
        lacking = [f"rollout {index}" for index in recomputed.rollouts if index not in rollouts]
        lacking += [] if line else ["its digest"]
        if lacking:
            print(f"not compared in update {update}, for want of a sound record: {', '.join(lacking)}")
        return Entry(line or recomputed.update, recomputed.rollouts | rollouts)

    def _compare_checkpoint(self, state: State) -> None:
        recorded = self._ledger.updates.get(state.update)
        difference = first_difference(Entry(state.digests(), {}), Entry(recorded, {})) if recorded else ""
        if difference:
            path = self._checkpoints.path(state.update)
            raise Differs(f"{path} differs from the ledger's update {state.update}: {difference}.")
