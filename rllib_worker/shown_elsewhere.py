"""Metrics for TensorBoard and wandb, where the config asks for them. Neither decides anything."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from bitexact.cli.exits import BadInput
from rllib_worker.config import RayWorkerConfig

TENSORBOARD = "tensorboard"


class ShownElsewhere:
    """Writers of event files and of a wandb run, open until the block ends."""

    def __init__(self, config: RayWorkerConfig, directory: Path) -> None:
        self._events: Any = None
        self._wandb: Any = None
        if config.tensorboard:
            writer = importlib.import_module("tensorboardX").SummaryWriter
            self._events = writer(str(directory / TENSORBOARD))
        if config.wandb:
            self._wandb = _wandb().init(
                project="rllib_worker", id=config.run_id, config=config.dump(), dir=directory, resume="allow"
            )

    def __enter__(self) -> "ShownElsewhere":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._events:
            self._events.close()
        if self._wandb:
            self._wandb.finish()

    def update(self, metrics: dict[str, Any]) -> None:
        """An iteration was committed."""
        numbers = dict(_numbers(metrics))
        if self._events:
            for name, value in numbers.items():
                self._events.add_scalar(name, value, metrics["update"])
        if self._wandb:
            self._wandb.log(numbers, step=metrics["update"])


def expect_what_is_asked_for(config: RayWorkerConfig) -> None:
    """Raise BadInput if wandb is asked for and not installed."""
    if config.wandb:
        _wandb()


def _wandb() -> Any:
    try:
        return importlib.import_module("wandb")
    except ImportError:
        raise BadInput("wandb: it is not installed here; install it, or set wandb to false.") from None


def _numbers(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in metrics.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float):
            yield f"{prefix}{name}", float(value)
