"""A training shown elsewhere, epoch by epoch: TensorBoard's event files in the run's folder, MLflow with the model.

    with tracking.shown(run, tensorboard=True, mlflow="sqlite:///artifacts/mlflow.db", tell=print) as show:
        ...
        show()                                  after each epoch

Neither decides anything: a place that does not answer is told of, and the training goes on.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from bitexact.reporting.charts import Charts, Curve
from bitexact.reporting.sink import Sink
from bitexact.reporting.trackers import MLflow, TensorBoard
from world_model import model
from world_model.model_path import ARTIFACTS, local_database

CHARTS = Charts(
    experiment="world-model",
    metrics={
        "training/loss": "loss",
        "validation/error_1": "error_1",
        "validation/error_15": "error_15",
        "validation/error_60": "error_60",
        "pace/wall_time_s": "wall_time_s",
    },
    curve=Curve("error of the ball", "error_15", "error_60", "after 15 steps", "after 60"),
)
ARTIFACT = "model"


class _WithModel(MLflow):
    """MLflow, which gets the model, too. A database in a file has what is logged beside it."""

    def __init__(self, run: Path, uri: str, tell: Callable[[str], None]) -> None:
        super().__init__(run, CHARTS, True, uri)
        self._tell, self._database = tell, uri.removeprefix("sqlite:///") if uri.startswith("sqlite:///") else None

    def _run_id(self) -> str:
        if self._database and not self._client.get_experiment_by_name(CHARTS.experiment):
            beside = Path(self._database).absolute().with_name("mlruns") / CHARTS.experiment
            self._client.create_experiment(CHARTS.experiment, artifact_location=beside.as_uri())
        return super()._run_id()

    def end(self) -> None:
        """The model and the report, as they are now."""
        run_id = self._run_id()
        for name in (model.CONFIG, model.WEIGHTS):
            self._client.log_artifact(run_id, str(self.run / name), ARTIFACT)
        super().end()
        self._tell(f"MLflow has the model as runs:/{run_id}/{ARTIFACT}")


@contextlib.contextmanager
def shown(
    run: Path, tensorboard: bool, mlflow: str | None, tell: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """A function that shows the epochs that are new in the run's ledger, until the block ends; then the model."""
    sinks: list[Sink] = []
    if tensorboard:
        sinks.append(TensorBoard(run, CHARTS, True))
    if mlflow:
        if mlflow == local_database():
            ARTIFACTS.mkdir(exist_ok=True)
        sinks.append(_WithModel(run, mlflow, tell))

    def show() -> None:
        for sink in sinks:
            sink.catch_up()

    try:
        yield show
    finally:
        for sink in sinks:
            if trouble := sink.close():
                tell(trouble)
