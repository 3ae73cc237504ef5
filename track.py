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
Exit codes: 0 shown, 2 bad input, 3 a server did not answer, 130 and 143 interrupted.
"""

import contextlib
import functools
import json
import math
import os
import select
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput, ClusterLost
from bitexact.cli.interrupts import Interrupts
from bitexact.cluster.pool import COUNTED
from bitexact.reporting import beside
from bitexact.storage import config, durable
from bitexact.storage.ledger import METRICS
from bitexact.storage.run_directory import CHECKPOINTS, TENSORBOARD, TRACKED
from training.settings import Settings

_LOOK_EVERY_S, _ASK_AGAIN_AFTER_S = 1.0, 60.0
_AT_A_TIME = 200  # updates
_PAGES = {
    "reward": {"mean": "reward_mean", "mean_100": "reward_mean_100", "min": "reward_min", "max": "reward_max"},
    "learning": {"loss": "loss", "gradient_norm": "gradient_norm"},
    "points": {"won": "points_won", "lost": "points_lost"},
    "pace": {"steps": "steps", "steps_per_s": "steps_per_s", "wall_time_s": "wall_time_s"},
    "faults": {name: name for name in COUNTED},
}
Line = dict[str, Any]


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
    sinks: list[Sink] = []
    if chosen.tensorboard or chosen.video_every:
        sinks.append(TensorBoard(chosen.run, chosen.follow, chosen.video_every))
    if chosen.mlflow:
        sinks.append(MLflow(chosen.run, chosen.follow, chosen.mlflow))
    last_look = not chosen.follow
    while True:
        for sink in sinks:
            sink.catch_up()
        if last_look:
            break
        last_look = bool(select.select([sys.stdin], [], [], _LOOK_EVERY_S)[0])  # its end, as nothing is written to it
    silent = [sink.close() for sink in sinks]
    if any(silent) and not chosen.follow:  # there it has been said
        raise ClusterLost(" ".join(filter(None, silent)))


# ---- where a run is shown ---------------------------------------------------------------------------------------


class Sink(ABC):
    """One place where a run is shown, and how far it has been."""

    name: str

    def __init__(self, run: Path, follows: bool) -> None:
        self.run, self._follows = run, follows
        self._offset, self._shown, self._waiting = 0, self.tracked().get("update", 0), list[Line]()
        self._trouble, self._ask_again_at = "", 0.0

    def catch_up(self) -> None:
        """Show what was committed since. Trouble is said once, and is asked after again later."""
        if time.monotonic() < self._ask_again_at:
            return
        try:
            self._read()
            while self._waiting:
                lines = self._waiting[:_AT_A_TIME]
                self.show(lines)
                self.note(update=lines[-1]["update"])
                del self._waiting[: len(lines)]
            self._trouble = ""
        except Exception as error:  # whatever a client library raises: training must not hear of it
            if self._follows and not self._trouble:
                print(f"track.py: {self.name}: {_first_line(error)}; training goes on.", file=sys.stderr, flush=True)
            self._trouble = f"{self.name} lacks the last {len(self._waiting)} updates: {_first_line(error)}."
            self._ask_again_at = time.monotonic() + _ASK_AGAIN_AFTER_S

    def close(self) -> str:
        """Show the rest. Returns what is missing, in a sentence, if anything is."""
        self._ask_again_at = 0.0 if not self._trouble else math.inf
        self.catch_up()
        if not self._trouble:
            try:
                self.end()
            except Exception as error:
                self._trouble = f"{self.name}: {_first_line(error)}."
        return self._trouble

    @abstractmethod
    def show(self, lines: list[Line]) -> None:
        """Show updates, in order."""

    @abstractmethod
    def end(self) -> None:
        """Nothing more comes for now."""

    def tracked(self) -> dict[str, Any]:
        """What was noted of this sink when it was last shown something."""
        return self._noted().get(self.name, {})

    def began(self, last: Line) -> float:
        """When the run would have begun, had it never stopped, by its last line. Seconds since 1970."""
        return (self.run / METRICS).stat().st_mtime - float(last["wall_time_s"])

    def _noted(self) -> dict[str, dict[str, Any]]:
        """What all sinks have noted."""
        try:
            found = json.loads((self.run / TRACKED).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def note(self, **values: Any) -> None:
        """Note something of this sink beside what is noted."""
        noted = self._noted()
        noted[self.name] = noted.get(self.name, {}) | values
        durable.write_atomically(self.run / TRACKED, json.dumps(noted).encode() + b"\n")

    def _read(self) -> None:
        """Take in the whole lines that were added, less those shown before."""
        path = self.run / METRICS
        if not path.exists():
            return
        with path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        self._offset += whole
        for text in data[:whole].splitlines():
            with contextlib.suppress(ValueError, KeyError):
                line = json.loads(text)
                if line["update"] > self._shown:
                    self._waiting.append(line)


class TensorBoard(Sink):
    """Event files in the run directory."""

    name = "TensorBoard"

    def __init__(self, run: Path, follows: bool, video_every: int | None) -> None:
        super().__init__(run, follows)
        from tensorboardX import SummaryWriter

        # Its own name for the file has seconds in it: two files begun within one would be one.
        self._writer = SummaryWriter(str(run / TENSORBOARD), filename_suffix=f".{time.time_ns()}")
        self._video_every = video_every
        if not self.tracked():
            self._writer.add_text("settings", _as_table(config.read(run)["settings"]), 0)

    def show(self, lines: list[Line]) -> None:
        """Scalars; and a film, if it is time for one."""
        began = self.began(lines[-1])
        for line in lines:
            for name, value in scalars(line).items():
                self._writer.add_scalar(name, value, line["update"], began + line["wall_time_s"])
        if self._video_every:
            self._film(self._video_every)
        self._writer.flush()

    def end(self) -> None:
        """Close the file."""
        self._writer.close()

    def _film(self, every: int) -> None:
        from bitexact.storage.checkpoints import BadCheckpoint, Checkpoints, load

        filmed, checkpoints = self.tracked().get("filmed", 0), Checkpoints(self.run / CHECKPOINTS)
        for update in checkpoints.updates():
            if update >= filmed + every:
                with contextlib.suppress(BadCheckpoint):  # the driver has let it go meanwhile
                    self._add_film(update, load(checkpoints.path(update)).weights)
                    filmed = update
                    self.note(filmed=filmed)

    def _add_film(self, update: int, weights: dict[str, Any]) -> None:
        """As an image: browsers play it, and TensorBoard's own video would need another library."""
        from tensorboardX.proto.summary_pb2 import Summary

        from pong import film
        from pong.evaluation import EvaluationTask, evaluation_id
        from pong.game import Pong

        with tempfile.TemporaryDirectory(prefix="ray-pong-") as folder:
            path = Path(folder) / "game.gif"
            game_id = evaluation_id(seed=0, index=0)
            film.write_video(path, EvaluationTask(greedy=False).play(Pong(), weights, game_id), game_id)
            data = path.read_bytes()
        image = Summary.Image(height=film.HEIGHT, width=film.WIDTH, colorspace=3, encoded_image_string=data)
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag="game", image=image)]), update)


class MLflow(Sink):
    """A run of the experiment `ray-pong` on an MLflow server, or in a local store."""

    def __init__(self, run: Path, follows: bool, uri: str) -> None:
        self.name, self._uri = f"MLflow at {uri}", uri  # another server has been shown nothing
        super().__init__(run, follows)

    @functools.cached_property
    def _client(self) -> Any:
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")  # asked again later, by this program
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # no more developed, but it needs no package more
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._uri)

    def show(self, lines: list[Line]) -> None:
        """Metrics by update."""
        from mlflow.entities import Metric

        run_id, began = self._run_id(), self.began(lines[-1])
        for line in lines:
            at_ms = int((began + line["wall_time_s"]) * 1000)
            metrics = [Metric(name, value, at_ms, line["update"]) for name, value in scalars(line).items()]
            self._client.log_batch(run_id, metrics)

    def end(self) -> None:
        """Checkpoint and report, as they are now."""
        from bitexact.reporting import report_page, verdicts
        from bitexact.storage.checkpoints import Checkpoints

        run_id, checkpoints = self._run_id(), Checkpoints(self.run / CHECKPOINTS)
        if updates := checkpoints.updates():
            self._client.log_artifact(run_id, str(checkpoints.path(updates[-1])), "checkpoints")
        with tempfile.TemporaryDirectory(prefix="ray-pong-") as folder:
            report_page.write(verdicts.make([self.run]), Path(folder) / "report.html")
            self._client.log_artifact(run_id, str(Path(folder) / "report.html"))
        self._client.set_terminated(run_id)

    def _run_id(self) -> str:
        """The run on the server; begun with its settings if there is none yet."""
        known = self.tracked()
        if "run_id" in known:
            return str(known["run_id"])
        found = self._client.get_experiment_by_name("ray-pong")
        experiment = found.experiment_id if found else self._client.create_experiment("ray-pong")
        run_id: str = self._client.create_run(experiment, run_name=self.run.resolve().name).info.run_id
        for name, value in config.read(self.run)["settings"].items():
            self._client.log_param(run_id, name, value)
        self.note(run_id=run_id)
        return run_id


def scalars(line: Line) -> dict[str, float]:
    """What is shown of an update, by the names under which it is shown."""
    named = {f"{page}/{name}": line.get(key) for page, names in _PAGES.items() for name, key in names.items()}
    return {name: float(value) for name, value in named.items() if value is not None and math.isfinite(value)}


def _as_table(settings: dict[str, Any]) -> str:
    return "\n".join(
        ["| setting | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in settings.items())]
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")[:300]


if __name__ == "__main__":
    exits.run(main)
