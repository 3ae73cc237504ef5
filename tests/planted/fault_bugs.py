"""Bugs that only faults bring out: undisturbed, a run with any of them ends in the right digest, every line in place.

`kill_matrix.py` plants each by its name. A function is given the module that it changes, just after that was imported.
"""

import contextlib
import os

# ---- the pool ------------------------------------------------------------------------------------------------------


def late_duplicate_counted(pool):
    count = pool.Pool._count

    def counting_all(self, execution, value):
        return count(self, execution, value) or [(execution.item.key, value)]

    pool.Pool._count = counting_all


def deadline_never_doubles(deadlines):
    deadlines.Deadlines.killed = lambda self, item: None


def absence_not_forgiven(deadlines):
    deadlines.Attention.absent_s = lambda self, now: 0.0


def frozen_actor_kept(pool):
    enforce = pool.Pool._enforce_deadlines

    def without_kills(self):
        give_up, self._actors.give_up = self._actors.give_up, lambda *args, **named: None
        enforce(self)
        self._actors.give_up = give_up

    pool.Pool._enforce_deadlines = without_kills


def lost_weights_replaced_by_old_ones(pool):
    run, again = pool.Pool.run, pool.Pool._share_again

    def remembering(self, task, shared, keys):
        self.first_shared = getattr(self, "first_shared", shared)
        yield from run(self, task, shared, keys)

    def of_the_first_batch(self, execution, loss):
        self._shared_value = self.first_shared
        again(self, execution, loss)

    pool.Pool.run, pool.Pool._share_again = remembering, of_the_first_batch


def damage_not_looked_for(rollout_record):
    rollout_record.RolloutRecord.mismatch = lambda self, result: ""


def damaging_node_kept(actors):
    actors.Actors._refuse = lambda self, node, reason, has_worked: None


def silence_taken_for_loss(actors):
    def at_once(self):
        raise actors.ClusterLost("the cluster has not answered: the cluster is lost.")

    actors.Actors._expect_an_answer = at_once


def lost_actor_not_stopped(actors):
    def only_forgotten(self, actor, reason):
        self.all.remove(actor)
        return self._release(actor, reason)

    actors.Actors.forget = only_forgotten


def sum_in_order_of_arrival(tree_sum):
    class InOrderOfArrival(tree_sum.TreeSum):
        def __init__(self, size):
            super().__init__(size)
            self.arrived = 0

        def add(self, index, gradient):
            super().add(self.arrived, gradient)
            self.arrived += 1

    tree_sum.TreeSum = InOrderOfArrival


def games_in_order_of_arrival(ppo_batch):
    ppo_batch.sorted = list


# ---- what lasts ----------------------------------------------------------------------------------------------------


def line_not_synchronised(durable):
    def append(path, data):
        with durable.refusing(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            length = os.fstat(descriptor).st_size
            try:
                durable._write_all(descriptor, data)
            except OSError:
                os.ftruncate(descriptor, length)
                raise
            finally:
                os.close(descriptor)

    durable.append = append


def names_not_synchronised(durable):
    durable.sync_folder = lambda folder: None


def renamed_before_it_is_synchronised(durable):
    def write_atomically(path, data):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                durable._write_all(descriptor, data)
            finally:
                os.close(descriptor)
            temporary.replace(path)
            durable.sync_folder(path.parent)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise durable.refused(path, error) from error

    durable.write_atomically = write_atomically


def written_in_place(durable):
    def write_atomically(path, data):
        with durable.refusing(path):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                durable._write_all(descriptor, data)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            durable.sync_folder(path.parent)

    durable.write_atomically = write_atomically


def short_write_taken_for_whole(durable):
    durable._write_all = lambda descriptor, data: os.write(descriptor, data)


def refusal_swallowed(durable):
    append = durable.append

    def hopefully(path, data):
        with contextlib.suppress(durable.DiskRefused):
            append(path, data)

    durable.append = hopefully


def leftovers_kept(durable):
    durable.delete_leftovers = lambda folder, name: None


# ---- the ledger, checkpoints, a resume -----------------------------------------------------------------------------


def committed_before_its_rollouts(ledger):
    def commit(self, metrics, rollouts):
        update = metrics["update"]
        if update <= self.last_update:
            return
        recorded = self.entry(update).rollouts
        ledger.durable.append(self._directory / ledger.METRICS, ledger.encode(metrics))
        self.last_update = update
        new = [line for line in rollouts if line["index"] not in recorded]
        if new:
            ledger.durable.append(self._directory / ledger.ROLLOUTS, b"".join(map(ledger.encode, new)))

    ledger.Ledger.commit = commit


def rollouts_recorded_again(ledger):
    def commit(self, metrics, rollouts):
        if metrics["update"] <= self.last_update:
            return
        ledger.durable.append(self._directory / ledger.ROLLOUTS, b"".join(map(ledger.encode, rollouts)))
        ledger.durable.append(self._directory / ledger.METRICS, ledger.encode(metrics))
        self.last_update = metrics["update"]

    ledger.Ledger.commit = commit


def updates_recorded_again(ledger):
    commit = ledger.Ledger.commit

    def always(self, metrics, rollouts):
        if metrics["update"] <= self.last_update:
            ledger.durable.append(self._directory / ledger.METRICS, ledger.encode(metrics))
        commit(self, metrics, rollouts)

    ledger.Ledger.commit = always


def torn_line_kept(ledger):
    ledger.Ledger.cut_torn_lines = lambda self, tell: None


def lock_skipped(run_directory):
    run_directory._take_lock = lambda lock, directory: None


def old_checkpoint_deleted_first(recorder):
    checkpoint = recorder.Recorder.checkpoint

    def deleting_first(self):
        if self._committed.update != self._checkpointed and self._run.holds_lock():
            self._run.checkpoints.clear()
        checkpoint(self)

    recorder.Recorder.checkpoint = deleting_first


def resume_from_the_ledgers_end(recorder):
    restore = recorder.Recorder.restore

    def too_far(self):
        state = restore(self)
        ledger_ends = self._run.ledger.last_update
        moved = type(state)(max(state.update, ledger_ends), state.weights, state.optimizer)
        self._committed, self._resumed_after = moved, moved.update
        return moved

    recorder.Recorder.restore = too_far


def rewards_forgotten(recorder):
    restore = recorder.Recorder.restore

    def forgetting(self):
        state = restore(self)
        self._rewards = []
        return state

    recorder.Recorder.restore = forgetting


def first_damage_ends_the_search(checkpoints):
    def newest_good(self, like, not_after, complain, recorded=lambda update: None):
        for update in reversed([update for update in self.updates() if update <= not_after]):
            try:
                return self.load(update, like)
            except checkpoints.BadCheckpoint as bad:
                complain(str(bad))
                return None
        return None

    checkpoints.Checkpoints.newest_good = newest_good


BUGS = {
    "late-duplicate-counted": ("bitexact.cluster.pool", late_duplicate_counted),
    "deadline-never-doubles": ("bitexact.cluster.deadlines", deadline_never_doubles),
    "absence-not-forgiven": ("bitexact.cluster.deadlines", absence_not_forgiven),
    "frozen-actor-kept": ("bitexact.cluster.pool", frozen_actor_kept),
    "lost-weights-replaced-by-old-ones": ("bitexact.cluster.pool", lost_weights_replaced_by_old_ones),
    "damage-not-looked-for": ("training.rollout_record", damage_not_looked_for),
    "damaging-node-kept": ("bitexact.cluster.actors", damaging_node_kept),
    "silence-taken-for-loss": ("bitexact.cluster.actors", silence_taken_for_loss),
    "lost-actor-not-stopped": ("bitexact.cluster.actors", lost_actor_not_stopped),
    "sum-in-order-of-arrival": ("training.reinforce_batch", sum_in_order_of_arrival),
    "games-in-order-of-arrival": ("training.ppo_batch", games_in_order_of_arrival),
    "line-not-synchronised": ("bitexact.storage.durable", line_not_synchronised),
    "names-not-synchronised": ("bitexact.storage.durable", names_not_synchronised),
    "renamed-before-it-is-synchronised": ("bitexact.storage.durable", renamed_before_it_is_synchronised),
    "written-in-place": ("bitexact.storage.durable", written_in_place),
    "short-write-taken-for-whole": ("bitexact.storage.durable", short_write_taken_for_whole),
    "refusal-swallowed": ("bitexact.storage.durable", refusal_swallowed),
    "leftovers-kept": ("bitexact.storage.durable", leftovers_kept),
    "committed-before-its-rollouts": ("bitexact.storage.ledger", committed_before_its_rollouts),
    "rollouts-recorded-again": ("bitexact.storage.ledger", rollouts_recorded_again),
    "updates-recorded-again": ("bitexact.storage.ledger", updates_recorded_again),
    "torn-line-kept": ("bitexact.storage.ledger", torn_line_kept),
    "lock-skipped": ("bitexact.storage.run_directory", lock_skipped),
    "old-checkpoint-deleted-first": ("training.recorder", old_checkpoint_deleted_first),
    "resume-from-the-ledgers-end": ("training.recorder", resume_from_the_ledgers_end),
    "rewards-forgotten": ("training.recorder", rewards_forgotten),
    "first-damage-ends-the-search": ("bitexact.storage.checkpoints", first_damage_ends_the_search),
}
