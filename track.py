"""Show a run to TensorBoard and MLflow, while it is trained or later. It reads the run directory and changes no bit.

    python driver.py --tensorboard --mlflow http://localhost:5000        starts this program beside the training
    python track.py RUN --tensorboard                                    a run that is there, into RUN/tensorboard
    python track.py RUN --mlflow http://localhost:5000                   needs: pip install -r requirements-mlflow.txt
    tensorboard --logdir runs                                            then look

What was shown is noted in RUN/tracked.json, so that it is shown once, also after a resume. While a run is followed, a
server that does not answer is told of once and asked again every minute; what it has missed it gets as soon as it
answers, or by this program later. With --video-every N, TensorBoard gets a game played with the first checkpoint that
comes N updates or more after the last one filmed.

Metrics: reward/..., learning/..., points/..., pace/... by update, and faults/... as the driver counts them.
Exit codes: 0 shown, 2 bad input, 3 a server did not answer; others as every command's (bitexact/cli/exits.py, and
--help).
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput, ClusterLost
from bitexact.cli.interrupts import Interrupts
from bitexact.determinism.arrays import Arrays
from bitexact.reporting import beside, sink
from bitexact.reporting.sink import Sink
from bitexact.reporting.trackers import Films, MLflow, TensorBoard
from bitexact.storage import config
from training.charts import CHARTS
from training.settings import Settings


@dataclass(frozen=True)
class Arguments:
    """Show a run to TensorBoard and to MLflow."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run directory."""
    tensorboard: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Write TensorBoard's event files into RUN/tensorboard."""
    mlflow: Annotated[str | None, tyro.conf.arg(metavar="URI")] = None
    """Log to an MLflow server, http://HOST:PORT, or to a local store, file:///FOLDER."""
    video_every: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Film a game every N updates, for TensorBoard."""
    follow: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go on until standard input ends, as the driver lets it."""

    def check(self) -> None:
        """Raise BadInput for arguments that cannot be used."""
        config.read(self.run)
        if not (self.tensorboard or self.mlflow or self.video_every):
            raise BadInput("say where to show the run: --tensorboard, --mlflow URI, or both.")
        wanted = Settings(tensorboard=self.tensorboard, mlflow=self.mlflow, video_every=self.video_every)
        wanted.check()
        beside.expect_packages(self.mlflow)


def main(arguments: Sequence[str]) -> None:
    """Show what is there; follow what is added. Raises BadInput, ClusterLost."""
    chosen = command_line.parse(Arguments, arguments, "python track.py")
    chosen.check()
    Interrupts()
    silent = sink.show(_sinks(chosen), chosen.follow)
    if silent and not chosen.follow:  # there it has been said
        raise ClusterLost(" ".join(silent))


def _sinks(chosen: Arguments) -> list[Sink]:
    """Where the run is to be shown."""
    sinks: list[Sink] = []
    if chosen.tensorboard or chosen.video_every:
        films = Films(chosen.video_every, _filming(chosen.run)) if chosen.video_every else None
        sinks.append(TensorBoard(chosen.run, CHARTS, chosen.follow, films))
    if chosen.mlflow:
        sinks.append(MLflow(chosen.run, CHARTS, chosen.follow, chosen.mlflow))
    return sinks


def _filming(run: Path) -> Callable[[Arrays], bytes]:
    """What makes a GIF of a game of the run's own, played with a checkpoint's weights."""
    from pong import film  # only now: the game, which takes a second to load
    from pong.evaluation import EvaluationTask, evaluation_id
    from pong.game import Pong
    from training.saved_policy import sticky_actions_of

    game, name = Pong(sticky_actions_of(run)), evaluation_id(seed=0, index=0)

    def filmed(weights: Arrays) -> bytes:
        with tempfile.TemporaryDirectory(prefix="ray-pong-") as folder:
            path = Path(folder) / "game.gif"
            film.write_video(path, EvaluationTask(greedy=False).play(game, weights, name), name, game)
            return path.read_bytes()

    return filmed


if __name__ == "__main__":
    exits.run(main)
