"""Train a Pong player on Ray: every bit of the result can be reproduced, whatever fails while it runs.

    python driver.py --batch-size=10                    train until stopped (Ctrl-C), in runs/pong-seed0-batch10
    python driver.py --resume                           go on where it stopped
    python driver.py --updates=20 --actors=1 --run-dir=runs/a
    python driver.py --updates=20 --actors=7 --run-dir=runs/b
    python compare.py runs/a runs/b                     the same digest after every update
    python driver.py --address=HOST:6379                on a Ray cluster
    python driver.py --preset=reinforce                 Karpathy's way: one gradient a game, one step a batch
    python driver.py --help                             every setting

One update: the weights go out, a batch of games is played by actors, what they saw and did comes back, and is learned
from in an order of its own. Its line in the run's ledger names the digest of what came out.

Exit codes: 0 done, 1 a property failed or a digest differs, 2 bad input, 3 the cluster is lost, 4 the disk is full or
refuses; others as every command's (bitexact/cli/exits.py, and --help).
"""

import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from bitexact.cli import exits, process_environment
from bitexact.cli.exits import BadInput, ClusterLost, DiskRefused, Ended, Interrupted
from bitexact.cli.interrupts import Interrupts
from bitexact.cli.progress import Progress, show
from bitexact.determinism import process
from bitexact.reporting import beside
from bitexact.storage import config
from bitexact.storage.run_directory import RunDirectory, open_for_writing
from training.run_config import opening
from training.settings import Settings, from_command_line

_TRACK = Path(__file__).with_name("track.py")


def main(arguments: Sequence[str]) -> None:
    """Parse the settings, open the run directory, and train."""
    settings = from_command_line(arguments)
    interrupts = Interrupts()
    with show("Ray Pong") as progress:
        _check_this_process(progress)
        beside.expect_packages(settings.mlflow)
        process_environment.prepare_ray(embedded=settings.address is None)  # now: it may refuse
        if settings.address:
            _check_cluster(settings.address)
        try:
            with (
                open_for_writing(opening(settings), progress.note) as run,
                exits.bugs_noted_in(run.path, _tell_of_a_bug),
                interrupts.blamed(),
                beside.running(_tracker(settings)),
            ):
                _train(settings, run, progress, interrupts)
        except (ClusterLost, DiskRefused, Interrupted) as end:
            raise _with_the_way_on(end, settings) from None


def _train(settings: Settings, run: RunDirectory, progress: Progress, interrupts: Interrupts) -> None:
    process_environment.prepare_driver(run.properties, embedded=settings.address is None)
    # From here on: Ray's modules, and Ray while it starts, swallow what a handler raises.
    interrupts.defer(end_now=lambda end: exits.at_once(_with_the_way_on(end, settings)))
    # With these come Ray and the SDK, which read the environment that has only now been prepared.
    from pong_actor import PongEnv
    from training import loop

    loop.train(settings, run, PongEnv, progress, interrupts)


def _tell_of_a_bug(error: Exception) -> None:
    import invariants  # with the SDK: the environment is prepared, if it came to that

    invariants.no_exception_is_our_own({"exception": type(error).__name__})


def _tracker(settings: Settings) -> list[str]:
    """The command that shows the run elsewhere while it is trained; empty if it is to be shown nowhere."""
    wanted = ["--tensorboard"] if settings.tensorboard else []
    wanted += [f"--mlflow={settings.mlflow}"] if settings.mlflow else []
    wanted += [f"--video-every={settings.video_every}"] if settings.video_every else []
    return [sys.executable, str(_TRACK), str(settings.directory), "--follow", *wanted] if wanted else []


def _with_the_way_on(end: Ended, settings: Settings) -> Ended:
    """Name the command to go on with, if there is a run to go on with."""
    if (settings.directory / config.CONFIG).exists():
        end.args = (f"{str(end).rstrip('.')}. Go on with: {settings.resume_command()}",)
    return end


def _check_cluster(address: str) -> None:
    """Before anything is written: a mistyped address must not cost the run that --overwrite was to replace."""
    from bitexact.cluster.ray_session import expect_an_answer

    expect_an_answer(address)


def _check_this_process(progress: Progress) -> None:
    if not process.keep_denormals():
        raise BadInput(
            f"this process on {socket.gethostname()} flushes denormal numbers to zero: its bits would differ."
        )
    if not process.is_tested_processor():
        progress.note("This is not an x86-64 processor: it trains, but equal digests are not tested here.")


if __name__ == "__main__":
    exits.run(main)
