"""Where a command's properties go: into the run's folder, from which `python report.py RUN` tells of them.

The SDK chooses its output when it is first imported, so a command parses its arguments, names the folder here, and only
then imports what asserts.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bitexact.cli.exits import BadInput
from bitexact.cli.process_environment import PROPERTIES_FOLDER, prepare_command
from bitexact.storage.config import CONFIG
from bitexact.storage.run import PROPERTIES


@contextlib.contextmanager
def noted_in(run: Path) -> Iterator[None]:
    """Have this process and those that it starts note what they see, until the block ends, in RUN/properties.

    A run that was refused before it began leaves nothing behind.
    """
    made = [folder for folder in (run, *run.parents) if not folder.exists()]
    before = os.environ.get(PROPERTIES_FOLDER)
    prepare_command(run / PROPERTIES)
    try:
        yield
    except BadInput:
        if not (run / CONFIG).exists():
            shutil.rmtree(run / PROPERTIES, ignore_errors=True)
            with contextlib.suppress(OSError):
                for folder in made:
                    folder.rmdir()
        raise
    finally:
        if before is None:
            del os.environ[PROPERTIES_FOLDER]
        else:
            os.environ[PROPERTIES_FOLDER] = before
