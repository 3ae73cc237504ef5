"""The trackers that a run can be shown to: TensorBoard, by event files in the run directory, and MLflow."""

import contextlib
import functools
import io
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboardX import SummaryWriter
from tensorboardX.proto.summary_pb2 import Summary

from bitexact.determinism.arrays import Arrays
from bitexact.reporting import page, verdicts
from bitexact.reporting.charts import Charts, Line
from bitexact.reporting.sink import Sink
from bitexact.storage import config
from bitexact.storage.checkpoints import BadCheckpoint, Checkpoints, load_any
from bitexact.storage.run import CHECKPOINTS
from bitexact.storage.run_directory import TENSORBOARD


@dataclass(frozen=True)
class Films:
    """Films of what the weights do."""

    every: int  # updates; the first checkpoint that comes so many or more after the last one filmed
    make: Callable[[Arrays], bytes]  # a GIF


class TensorBoard(Sink):
    """Event files in the run directory."""

    name = "TensorBoard"

    def __init__(self, run: Path, charts: Charts, follows: bool, films: Films | None = None) -> None:
        super().__init__(run, charts, follows)
        # Its own name for the file has seconds in it: two files begun within one would be one.
        self._writer = SummaryWriter(str(run / TENSORBOARD), filename_suffix=f".{time.time_ns()}")
        self._films = films
        if not self.tracked():
            self._writer.add_text("settings", _as_table(config.read(run).get("settings", {})), 0)

    def show(self, lines: list[Line]) -> None:
        """Scalars; and a film, if it is time for one."""
        began = self.began(lines[-1])
        for line in lines:
            for name, value in self.charts.scalars(line).items():
                self._writer.add_scalar(name, value, line["update"], began + line["wall_time_s"])
        if self._films:
            self._film(self._films)
        self._writer.flush()

    def end(self) -> None:
        """Close the file."""
        self._writer.close()

    def _film(self, films: Films) -> None:
        filmed, checkpoints = self.tracked().get("filmed", 0), Checkpoints(self.run / CHECKPOINTS)
        for update in checkpoints.updates():
            if update >= filmed + films.every:
                with contextlib.suppress(BadCheckpoint):  # the driver has let it go meanwhile
                    self._add_film(update, films.make(load_any(checkpoints.path(update)).weights))
                    filmed = update
                    self.note(filmed=filmed)

    def _add_film(self, update: int, data: bytes) -> None:
        """As an image: browsers play it, and TensorBoard's own video would need another library."""
        width, height = Image.open(io.BytesIO(data)).size
        image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag="game", image=image)]), update)


class MLflow(Sink):
    """A run of the system's experiment on an MLflow server, or in a local store."""

    def __init__(self, run: Path, charts: Charts, follows: bool, uri: str) -> None:
        self.name, self._uri = f"MLflow at {uri}", uri  # another server has been shown nothing
        super().__init__(run, charts, follows)

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
            metrics = [Metric(name, value, at_ms, line["update"]) for name, value in self.charts.scalars(line).items()]
            self._client.log_batch(run_id, metrics)

    def end(self) -> None:
        """Checkpoint and report, as they are now."""
        run_id, checkpoints = self._run_id(), Checkpoints(self.run / CHECKPOINTS)
        if updates := checkpoints.updates():
            self._client.log_artifact(run_id, str(checkpoints.path(updates[-1])), "checkpoints")
        with tempfile.TemporaryDirectory(prefix="ray-pong-") as folder:
            page.write(verdicts.make([self.run]), Path(folder) / "report.html", self.charts.curve)
            self._client.log_artifact(run_id, str(Path(folder) / "report.html"))
        self._client.set_terminated(run_id)

    def _run_id(self) -> str:
        """The run on the server; begun with its settings if there is none yet."""
        known = self.tracked()
        if "run_id" in known:
            return str(known["run_id"])
        name = self.charts.experiment
        found = self._client.get_experiment_by_name(name)
        experiment = found.experiment_id if found else self._client.create_experiment(name)
        run_id: str = self._client.create_run(experiment, run_name=self.run.resolve().name).info.run_id
        for setting, value in config.read(self.run).get("settings", {}).items():
            self._client.log_param(run_id, setting, value)
        self.note(run_id=run_id)
        return run_id


def _as_table(settings: dict[str, Any]) -> str:
    return "\n".join(
        ["| setting | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in settings.items())]
    )
