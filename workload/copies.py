"""A copy of a run directory, taken while its driver writes: what a backup at any instant would hold.

with copied(Path("/runs/pong")) as copy: ...
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bitexact.storage.config import CONFIG
from bitexact.storage.ledger import METRICS, ROLLOUTS
from bitexact.storage.run import CHECKPOINTS

# Last what is written first: so for all that is in the copy, what it builds upon is in it too.
_ORDER = (CHECKPOINTS, METRICS, ROLLOUTS, CONFIG)


@contextlib.contextmanager
def copied(run: Path) -> Iterator[Path]:
    """The copy, until the block ends."""
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / run.name
        to.mkdir()
        for name in _ORDER:
            source = run / name
            for path in [*source.iterdir()] if source.is_dir() else [source]:
                copy = to / path.relative_to(run)
                copy.parent.mkdir(exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # not there yet, or a checkpoint that was pruned
                    shutil.copyfile(path, copy)
        yield to
