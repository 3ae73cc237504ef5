"""What is dear and only read: made once, also where tests run in several processes (`pytest -n 2`)."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

_LIMIT_S = 300.0


def made_once(name: str, tmp_path_factory: pytest.TempPathFactory, make: Callable[[Path], None]) -> Path:
    """A folder of this name, filled by `make` in the process that needs it first; the others wait. Not to be altered.

    Raises filelock.Timeout if that takes more than five minutes.
    """
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / name
    whole = folder.with_suffix(".whole")
    with FileLock(folder.with_suffix(".lock"), timeout=_LIMIT_S):
        if not whole.exists():
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder
