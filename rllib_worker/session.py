"""A training session: the run's folder opened, Ray started, the runtime run, and how it ended written down."""

import os
import shlex
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bitexact.cli import exits, process_environment
from bitexact.cli.exits import Ended, Interrupted
from bitexact.cli.interrupts import Interrupts
from bitexact.cli.progress import show
from bitexact.storage.run_directory import Opening, RunDirectory, open_for_writing
from bitexact.storage.state import State
from rllib_worker import fastlane, pause
from rllib_worker.analytics import Analytics, versions
from rllib_worker.config import RayWorkerConfig
from rllib_worker.kept import VERSIONS, WORKER
from rllib_worker.log import LOG, LOGS, Logged

_ROOT = Path(__file__).resolve().parent.parent


def train(config: RayWorkerConfig, resume: bool, overwrite: bool) -> None:
    """Train a run to its end, or until something ends it. Raises Ended."""
    interrupts = Interrupts()
    opening = Opening(
        directory=config.directory,
        config={WORKER: config.dump(), VERSIONS: versions()},
        first=State(0, {}, {}),
        resume=resume,
        overwrite=overwrite,
    )
    way_on = f"Go on with: python -m rllib_worker --resume {shlex.quote(str(config.directory))}"
    title = f"{config.run_id}: {config.training.algorithm} on {config.environment.env_id}"
    with show(title) as shown, open_for_writing(opening, shown.note) as directory:
        progress = Logged(shown, directory.path / LOGS / LOG)
        progress.write(f"process {os.getpid()} {'resumes' if resume else 'starts'} {config.run_id}")
        process_environment.prepare_driver(directory.properties, embedded=True)
        pause.obey_signals(directory.path)
        with _end_written_down(config, directory, progress, way_on), interrupts.blamed(), ExitStack() as stack:
            interrupts.defer(end_now=lambda end: _end_at_once(config, directory, end, way_on))
            _make_room_for_frames(config, stack)
            _start_ray(config, stack, interrupts)
            from rllib_worker.runtime import RayWorkerRuntime

            RayWorkerRuntime(config, progress, interrupts).run(directory)
        progress.note(f"done: {config.directory}")


def _start_ray(config: RayWorkerConfig, stack: ExitStack, interrupts: Interrupts) -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    warnings.filterwarnings("ignore")
    import torch

    from bitexact.cluster.ray_session import connect

    torch.set_num_threads(1)  # another number of threads may round a sum otherwise
    stack.enter_context(connect(None, config.resources.num_workers * config.resources.num_cpus + 1))
    interrupts.install()


def _make_room_for_frames(config: RayWorkerConfig, stack: ExitStack) -> None:
    if config.fastlane_enabled:
        stack.enter_context(fastlane.segment(config.directory))
    else:
        fastlane.clear()


@contextmanager
def _end_written_down(config: RayWorkerConfig, directory: RunDirectory, log: Logged, way_on: str) -> Iterator[None]:
    try:
        yield
    except Ended as end:
        _write_end(config, directory, end)
        log.write(f"ended: {end}")
        if isinstance(end, Interrupted):
            end.args = (f"{end}. {way_on}",)
        raise


def _end_at_once(config: RayWorkerConfig, directory: RunDirectory, end: Interrupted, way_on: str) -> None:
    _write_end(config, directory, end)
    end.args = (f"{end}. {way_on}",)
    fastlane.remove(config.directory)
    exits.at_once(end)


def _write_end(config: RayWorkerConfig, directory: RunDirectory, end: Ended) -> None:
    try:
        Analytics(config, directory.path).write("ended", str(end))
    except Ended:  # the disk that ended the run refuses this too
        return
