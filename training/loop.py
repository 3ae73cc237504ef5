"""The training loop: weights out, games played, steps or gradients back, learn, commit; until stopped.

Importing this module imports Ray and the Antithesis SDK, which read their environment then: `process_environment`
prepares it before.
"""

from typing import Any

import invariants
from bitexact.cli.interrupts import Interrupts
from bitexact.cli.progress import Progress
from bitexact.cluster.pool import Key, Pool, PoolSettings
from bitexact.cluster.ray_cluster import RayCluster, bring_files, connect
from bitexact.cluster.sums_on_nodes import SumsOnNodes
from bitexact.determinism import versions
from bitexact.reporting import verdicts
from bitexact.storage.run_directory import RunDirectory
from bitexact.storage.state import State
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
    with connect(settings.address, settings.actors) as place:
        interrupts.check()
        cluster = RayCluster(actor, *settings.of_a_rollout(), tuple(versions.pinned()))
        listener = _Listener(recorder, interrupts)
        pool = Pool(cluster, _pool_settings(settings), listener)
        sums = SumsOnNodes(cluster, listener) if settings.address else None
        pool.wait_until_ready()
        _announce(settings, state, f"{place}: {pool.describe()}", progress)
        recorder.start_lap()
        try:
            while not recorder.finished(state):
                batch = new_batch(settings, state, sums)
                while keys := batch.missing_keys():  # all; then those, if any, whose gradients are lost with a node
                    for _, (result, record) in pool.run(batch.method, state.weights, keys):
                        batch.add(result, record)
                state = batch.learn()
                recorder.commit(state, batch, pool.take_counts())
        finally:
            recorder.checkpoint()
            for sentence in bring_files(run.properties, _BRING_TIMEOUT_S) if settings.address else []:
                progress.note(f"what another node saw of the properties is missing: {sentence}")
            progress.note(verdicts.make([run.path]).summary())
    progress.note(f"update {state.update} done, weights digest {state.digest()}")


class _Listener:
    """What the pool tells the loop, and asks it."""

    def __init__(self, recorder: Recorder, interrupts: Interrupts) -> None:
        self.event, self.interrupt = recorder.event, interrupts.check
        self._versions = versions.installed()

    def refusal(self, greeting: Any) -> str:
        """Why a node would compute other bits than the run's."""
        refusal: str = greeting.objection(self._versions)
        return refusal

    def fingerprint(self, value: tuple[Any, RolloutRecord]) -> str:
        """A rollout's digest: of its actions, its rewards, and what is learned from."""
        return value[1].digest

    def duplicate(self, key: Key, first: str, second: str) -> None:
        """A rollout that was raced came back a second time."""
        where = {"update": key[0], "index": key[1]}
        invariants.a_late_duplicate_is_dropped(where)
        invariants.a_rollout_done_twice_gives_the_same_bytes(first, second, where)


def _pool_settings(settings: Settings) -> PoolSettings:
    return PoolSettings(settings.actors, settings.batch_size, settings.rollout_timeout_s, settings.cluster_timeout_s)


def _announce(settings: Settings, state: State, place: str, progress: Progress) -> None:
    parameters = sum(array.size for array in state.weights.values())
    progress.note(f"run directory  {settings.directory}" + (f", after update {state.update}" if state.update else ""))
    progress.note(f"playing        Pong, {settings.batch_size} rollouts an update, seed {settings.seed}, on {place}")
    progress.note(f"policy         {parameters:,} parameters, learning rate {settings.learning_rate:g}")
    progress.note(f"stop           Ctrl-C; go on with: {settings.resume_command()}")
