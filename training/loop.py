"""The training loop: weights out, games played, steps or gradients back, learn, commit; until stopped.

Importing this module imports Ray and the Antithesis SDK, which read their environment then: `process_environment`
prepares it before.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import invariants
from bitexact.cli.interrupts import Interrupts
from bitexact.cli.progress import Progress
from bitexact.cluster.interface import Duplicate, PoolSettings
from bitexact.cluster.left_behind import end_left_behind, noted
from bitexact.cluster.pool import Pool
from bitexact.cluster.ray_cluster import RayCluster, Stays
from bitexact.cluster.ray_session import collect_property_files, connect
from bitexact.cluster.remote_sum import RemoteReducer
from bitexact.determinism.arrays import Arrays
from bitexact.reporting import verdicts
from bitexact.storage.run_directory import RunDirectory
from bitexact.storage.state import State
from training import deciding_code
from training.batch import Batch
from training.pace import LEARN, PLAY
from training.recorder import Recorder
from training.rollout_record import RolloutRecord
from training.settings import Settings
from training.update import new_batch

_BRING_TIMEOUT_S = 2.0


def train(settings: Settings, run: RunDirectory, actor: Any, progress: Progress, interrupts: Interrupts) -> None:
    """Train with actors of a class until the settings say that it is done.

    Raises PropertyFailed, ClusterLost, DiskRefused, Interrupted.
    """
    recorder = Recorder(settings, run, progress)
    state = recorder.restore()
    interrupts.check()
    if ended := end_left_behind(run.path):
        progress.note(f"ended {ended} processes that a killed driver of this run had left")
    with (
        connect(settings.address, settings.actors) as place,
        contextlib.nullcontext() if settings.address else noted(run.path),
    ):
        interrupts.check()
        game = settings.game()
        expected = deciding_code.describe_process(*game.modules)
        cluster = RayCluster(actor, settings.seed, settings.discount, game.make, expected=expected)
        listener = _Listener(recorder, interrupts)
        pool = Pool(cluster, _pool_settings(settings), listener)
        reducer = RemoteReducer(cluster, listener) if settings.address else None
        pool.wait_until_ready()
        _announce(settings, state, f"{place}: {pool.describe()}", progress)
        recorder.start_lap()
        try:
            while not recorder.finished(state):
                batch = new_batch(settings, state, reducer)
                with recorder.pace.timed(PLAY):
                    for result, record in arrivals(pool, batch, state.weights):
                        batch.add(result, record)
                check_duplicates(pool.take_duplicates())
                most, where = pool.take_most_executions(), {"update": batch.update}
                invariants.a_rollout_is_begun_within_its_limit(most, settings.rollout_attempts, where)
                with recorder.pace.timed(LEARN):
                    state = batch.learn()
                counts = pool.take_counts()
                counts["damaged"] += reducer.take_damaged() if reducer else 0
                recorder.commit(state, batch, counts, pool.take_busy_s())
        finally:
            recorder.checkpoint()
            for sentence in collect_property_files(run.properties, _BRING_TIMEOUT_S) if settings.address else []:
                progress.note(f"what another node saw of the properties is missing: {sentence}")
            progress.note(verdicts.make([run.path]).summary())
    progress.note(f"update {state.update} done, weights digest {state.digest()}")


def arrivals(pool: Pool, batch: Batch, weights: Arrays) -> Iterator[tuple[Any, RolloutRecord]]:
    """What a batch's rollouts bring, as they arrive: of all, then of those whose gradients are lost with a node."""
    while rollout_ids := batch.missing():
        task = Stays(batch.task) if batch.leaves_results else batch.task
        for _, arrival in pool.run(task, weights, rollout_ids):
            yield arrival


class _Listener:
    """What the pool tells the loop, and asks it."""

    def __init__(self, recorder: Recorder, interrupts: Interrupts) -> None:
        self.event, self.check_interrupt = recorder.event, interrupts.check


def check_duplicates(duplicates: list[Duplicate]) -> None:
    """Rollouts that were raced, and came back a second time, gave the same bytes. Raises PropertyFailed."""
    for duplicate in duplicates:
        where = duplicate.key.details
        invariants.a_late_duplicate_is_dropped(where)
        invariants.a_rollout_done_twice_gives_the_same_bytes(duplicate.first, duplicate.second, where)


def _pool_settings(settings: Settings) -> PoolSettings:
    return PoolSettings(
        actors=settings.actors,
        at_most=settings.batch_size,
        item_timeout_s=settings.rollout_timeout_s,
        cluster_timeout_s=settings.cluster_timeout_s,
        most_executions=settings.rollout_attempts,
    )


def _announce(settings: Settings, state: State, place: str, progress: Progress) -> None:
    parameters = sum(array.size for array in state.weights.values())
    progress.note(f"run directory  {settings.directory}" + (f", after update {state.update}" if state.update else ""))
    game = f"Pong as {settings.train_inside} dreams it" if settings.train_inside else "Pong"
    progress.note(f"playing        {game}, {settings.batch_size} rollouts an update, seed {settings.seed}, on {place}")
    progress.note(f"policy         {parameters:,} parameters, learning rate {settings.learning_rate:g}")
    progress.note(f"stop           Ctrl-C; go on with: {settings.resume_command()}")
