"""Commits: an update becomes part of the run when its line is in the ledger, and not before it has been checked.

The order is: check everything, rollouts' lines, the update's line, checkpoint. Killed anywhere between, a run resumes
from its last checkpoint, and what it computes again must give what is recorded.
"""

import time
from collections import Counter
from typing import Any

import invariants
from bitexact.cli.progress import Progress
from bitexact.cluster.pool import COUNTED
from bitexact.storage.checkpoints import ALWAYS_KEPT_EVERY, BadCheckpoint
from bitexact.storage.run_directory import RunDirectory
from bitexact.storage.state import State
from training import golden
from training.batch import Batch
from training.pace import COMMIT, IDLE, Pace
from training.settings import Settings
from training.update import summarize


class Recorder:
    """Writes one run's updates down and knows where it stands."""

    def __init__(self, settings: Settings, run: RunDirectory, progress: Progress) -> None:
        self._settings, self._run, self._progress = settings, run, progress
        self.pace = Pace()  # its owner says what playing and learning take

    def restore(self) -> State:
        """The state to go on from; what is wrong with newer ones is said."""
        state = self._run.restore(self._progress.note)
        ledger = self._run.ledger
        self._golden = golden.expected(self._settings)
        self._rewards = ledger.last_rewards(state.update, 100)
        self._resumed_after: int | None = state.update
        self._committed, self._checkpointed = state, state.update
        self._wall_time_s = float(ledger.entry(ledger.last_update).metrics.get("wall_time_s", 0.0))
        self._lap_began = time.monotonic()
        if self._settings.resume:
            for note in filter(None, self._run.notes):
                self.event(note)
            last = ledger.last_update
            self.event(f"resumed after update {state.update}; the ledger ends at update {last}", "resumed", ledger=last)
            invariants.a_run_resumes_after_update_0(state.update, {"update": state.update})
        return state

    def finished(self, state: State) -> bool:
        """Whether the run has reached what it was to reach."""
        wanted = self._settings.until_reward
        reached = wanted is not None and len(self._rewards) == 100 and sum(self._rewards) >= wanted * 100
        return reached or state.update >= (self._settings.updates or float("inf"))

    def start_lap(self) -> None:
        """The time until the first commit counts from here."""
        self._lap_began = time.monotonic()

    def event(self, text: str, kind: str = "mended", **details: Any) -> None:
        """Something went wrong, or was mended: say it, tell it, keep it. Raises DiskRefused."""
        self._progress.note(text)
        invariants.it_happens(kind, {"update": self._committed.update, "text": text, **details})
        wall_time_s = self._wall_time_s + time.monotonic() - self._lap_began
        self._run.ledger.add_event({"wall_time_s": wall_time_s, "update": self._committed.update, "event": text})

    def commit(self, state: State, batch: Batch, counts: Counter[str], busy_s: float = 0.0) -> None:
        """Make an update part of the run: check it, write it down, show it. Raises PropertyFailed, DiskRefused.

        `busy_s` is how long an actor has worked since the last one, in the mean of them.
        """
        with self.pace.timed(COMMIT):
            self._commit(state, batch, counts, busy_s)

    def _commit(self, state: State, batch: Batch, counts: Counter[str], busy_s: float) -> None:
        metrics = summarize(batch, self._rewards)
        metrics |= self._lap(metrics["steps"], busy_s)
        metrics |= {name: counts[name] for name in COUNTED}
        metrics |= state.digests()
        rollouts = [record.line() for record in batch.records]
        self._check(state.update, metrics, rollouts)
        self._run.ledger.commit(metrics, rollouts)
        self._committed = state
        self._rewards = (self._rewards + [record.reward for record in batch.records])[-100:]
        self._progress.update(metrics)
        where = {"update": state.update}
        invariants.it_happens("update_committed", {**where, "weights_digest": metrics["weights_digest"], **counts})
        invariants.a_batch_completes_although_an_actor_died(counts["actors_lost"] + counts["actors_killed"], where)
        invariants.a_rollout_moves_to_another_node(counts["moved"], where)
        if state.update % self._settings.checkpoint_every == 0 or state.update % ALWAYS_KEPT_EVERY == 0:
            self.checkpoint()

    def checkpoint(self) -> None:
        """Save the last committed state, unless it is saved; read it back; let old ones go. Raises DiskRefused."""
        state = self._committed
        if state.update == self._checkpointed or not self._run.holds_lock():
            return
        checkpoints = self._run.checkpoints
        checkpoints.save(state)
        try:
            read_digest = checkpoints.load(state.update, state).digest()
        except BadCheckpoint as bad:
            read_digest = str(bad)
        invariants.a_checkpoint_reads_back_as_written(read_digest, state.digest(), {"update": state.update})
        checkpoints.prune(self._settings.keep_checkpoints, state.update)
        self._checkpointed = state.update

    def _check(self, update: int, metrics: dict[str, Any], rollouts: list[dict[str, Any]]) -> None:
        ledger = self._run.ledger
        where = {"update": update}
        self._run.expect_in_place()
        invariants.one_driver_writes_a_run(self._run.holds_lock(), where)
        invariants.updates_are_committed_in_order(update, ledger.last_update, where)
        if self._settings.resume and self._resumed_after is not None:
            invariants.a_resumed_run_continues_after_its_checkpoint(update, self._resumed_after, where)
        self._resumed_after = None
        if update in self._golden:
            digest = metrics["weights_digest"]
            invariants.an_update_has_its_golden_digest(digest, self._golden[update], where)
        entry = ledger.entry(update)
        for line in rollouts:
            recorded = entry.rollouts.get(line["index"])
            if recorded:
                where_in_it = {**where, "index": line["index"]}
                invariants.a_rollout_done_twice_gives_the_same_bytes(recorded["digest"], line["digest"], where_in_it)
        if entry.digest is not None:
            invariants.an_update_is_done_again(where)
            invariants.an_update_done_again_gives_its_recorded_digest(metrics["weights_digest"], entry.digest, where)

    def _lap(self, steps: int, busy_s: float) -> dict[str, float]:
        now = time.monotonic()
        lap_s, self._lap_began = now - self._lap_began, now
        self._wall_time_s += lap_s
        spent = self.pace.take() | {IDLE: max(0.0, lap_s - busy_s)}
        return {"steps_per_s": steps / lap_s, "wall_time_s": self._wall_time_s, **spent}
