"""Train a Pong player on Ray: every bit of the result can be reproduced, whatever fails while it runs.

    python driver.py --batch-size=10                    train until stopped (Ctrl-C), in runs/pong-seed0-batch10
    python driver.py --resume                           go on where it stopped
    python driver.py --updates=20 --actors=1 --run-dir=runs/a
    python driver.py --updates=20 --actors=7 --run-dir=runs/b
    python compare.py runs/a runs/b                     the same digest after every update
    python driver.py --address=HOST:6379                on a Ray cluster
    python driver.py --preset=reinforce                   Karpathy's way: one gradient a game, one step a batch
    python driver.py --help                             every setting

One update: the weights go out, a batch of games is played by actors, what they saw and did comes back, and is learned
from in an order of its own. Its line in the run's ledger names the digest of what came out.

Exit codes: 0 done, 1 a property failed or a digest differs, 2 bad input, 3 the cluster is lost, 4 the disk is full or
refuses, 130 and 143 interrupted.
"""

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import track
from bitexact.cli import environment, exits
from bitexact.cli.exits import BadInput, ClusterLost, DiskRefused, Ended, Interrupted
from bitexact.cli.interrupts import Interrupts
from bitexact.cli.progress import Progress, show
from bitexact.cluster.pool import Key, Pool, PoolSettings
from bitexact.determinism import process, versions
from bitexact.storage import config
from bitexact.storage.run_directory import RunDirectory, open_for_writing
from bitexact.storage.state import State
from training.run_config import opening
from training.settings import Settings, from_command_line

if TYPE_CHECKING:
    from pong_actor import Greeting
    from training.recorder import Recorder
    from training.rollout_record import RolloutRecord

_BRING_TIMEOUT_S = 2.0


def main(arguments: Sequence[str]) -> None:
    """Parse the settings, open the run directory, and train."""
    settings = from_command_line(arguments)
    interrupts = Interrupts()
    with show("Ray Pong") as progress:
        _check_this_process(progress)
        track.expect_packages(settings)
        if settings.address:
            _check_cluster(settings.address)
        try:
            with (
                open_for_writing(opening(settings), progress.note) as run,
                interrupts.blamed(),
                track.beside(settings),
            ):
                environment.prepare_driver(run.properties, embedded=settings.address is None)
                train(settings, run, progress, interrupts)
        except (ClusterLost, DiskRefused, Interrupted) as end:
            raise _with_the_way_on(end, settings) from None


def train(settings: Settings, run: RunDirectory, progress: Progress, interrupts: Interrupts) -> None:
    """Weights out, games played, steps or gradients back, learn: until stopped."""
    # From here on: Ray's modules, and Ray while it starts, swallow what a handler raises.
    interrupts.defer(end_now=lambda end: exits.at_once(_with_the_way_on(end, settings)))
    # These import Ray or the SDK, which read the environment that has only now been prepared.
    import report
    from bitexact.cluster.ray_cluster import RayCluster, bring_files, connect
    from bitexact.cluster.sums_on_nodes import SumsOnNodes
    from pong_actor import PongEnv
    from training.learning import new_batch
    from training.recorder import Recorder

    recorder = Recorder(settings, run, progress)
    state = recorder.restore()
    interrupts.check()
    with connect(settings.address, settings.actors) as place:
        interrupts.check()
        cluster = RayCluster(PongEnv, *settings.of_a_rollout(), tuple(versions.pinned()))
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
            progress.note(report.make([run.path]).summary())
    progress.note(f"update {state.update} done, weights digest {state.digest()}")


def _with_the_way_on(end: Ended, settings: Settings) -> Ended:
    """Name the command to go on with, if there is a run to go on with."""
    if (settings.directory / config.CONFIG).exists():
        end.args = (f"{str(end).rstrip('.')}. Go on with: {settings.resume_command()}",)
    return end


class _Listener:
    """What the pool tells the driver, and asks it."""

    def __init__(self, recorder: "Recorder", interrupts: Interrupts) -> None:
        self.event, self.interrupt = recorder.event, interrupts.check
        self._versions = versions.installed()

    def refusal(self, greeting: "Greeting") -> str:
        """Why a node would compute other bits than the run's."""
        return greeting.objection(self._versions)

    def fingerprint(self, value: tuple[Any, "RolloutRecord"]) -> str:
        """A rollout's digest: of its actions, its rewards, and what is learned from."""
        return value[1].digest

    def duplicate(self, key: Key, first: str, second: str) -> None:
        """A rollout that was raced came back a second time."""
        import invariants

        where = {"update": key[0], "index": key[1]}
        invariants.a_late_duplicate_is_dropped(where)
        invariants.a_rollout_done_twice_gives_the_same_bytes(first, second, where)


def _pool_settings(settings: Settings) -> PoolSettings:
    return PoolSettings(settings.actors, settings.batch_size, settings.rollout_timeout_s, settings.cluster_timeout_s)


def _check_cluster(address: str) -> None:
    """Before anything is written: a mistyped address must not cost the run that --overwrite was to replace."""
    from bitexact.cluster.ray_cluster import expect_an_answer

    expect_an_answer(address)


def _check_this_process(progress: Progress) -> None:
    if not process.keep_denormals():
        raise BadInput(
            f"this process on {socket.gethostname()} flushes denormal numbers to zero: its bits would differ."
        )
    if not process.is_tested_processor():
        progress.note("This is not an x86-64 processor: it trains, but equal digests are not tested here.")


def _announce(settings: Settings, state: State, place: str, progress: Progress) -> None:
    parameters = sum(array.size for array in state.weights.values())
    progress.note(f"run directory  {settings.directory}" + (f", after update {state.update}" if state.update else ""))
    progress.note(f"playing        Pong, {settings.batch_size} rollouts an update, seed {settings.seed}, on {place}")
    progress.note(f"policy         {parameters:,} parameters, learning rate {settings.learning_rate:g}")
    progress.note(f"stop           Ctrl-C; go on with: {settings.resume_command()}")


if __name__ == "__main__":
    exits.run(main)
