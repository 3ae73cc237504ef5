"""A process that follows a run and shows it elsewhere, beside the training and in nobody's way."""

import contextlib
import importlib.util
import os
import subprocess
from collections.abc import Iterator, Sequence

from bitexact.cli.exits import BadInput

_END_TIMEOUT_S = 10.0
_NICENESS = 19  # the training comes first


def expect_packages(mlflow: str | None) -> None:
    """Raise BadInput if a package is missing that showing a run there needs."""
    if mlflow and not importlib.util.find_spec("mlflow"):
        raise BadInput("--mlflow needs a package more: pip install -r requirements-mlflow.txt.")


@contextlib.contextmanager
def running(command: Sequence[str]) -> Iterator[None]:
    """Run a command while the block runs; no command, no process. It is to end when its standard input ends."""
    if not command:
        yield
        return
    own_session = True  # Ctrl-C is for the training
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=own_session) as process:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICENESS)
        try:
            yield
        finally:
            assert process.stdin
            process.stdin.close()
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
