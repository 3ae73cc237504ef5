"""Golden digests: what the first updates of some runs must come to, computed beforehand by one process without Ray.

    RAY_PONG_GOLDEN=/golden.json python driver.py ...      each update that is in the file is compared

`workload/golden.py` makes such a file. A run's name in it is what decides its result.
"""

import json
import os
from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput
from bitexact.storage import untrusted
from pong.play import Game
from training import initial_state
from training.settings import Settings
from training.update import compute_update

FILE = "RAY_PONG_GOLDEN"


def name_of(settings: Settings) -> str:
    """What a run of these settings is called in the file."""
    return json.dumps(settings.deciding(), sort_keys=True)


def compute(settings: Settings, updates: int, game: Game) -> list[str]:
    """The digests of a run's first updates, in order."""
    state, digests = initial_state.from_seed(settings), []
    for _ in range(updates):
        state, _ = compute_update(settings, state, game)
        digests.append(state.digest())
    return digests


def expected(settings: Settings) -> dict[int, str]:
    """The digests that are known of a run, by update. Raises BadInput for a file that cannot be used."""
    path = os.environ.get(FILE)
    if not path or settings.init_weights:
        return {}
    try:
        found: Any = untrusted.parse_file(Path(path))
        digests = found.get(name_of(settings), [])
        return {update: digest for update, digest in enumerate(digests, start=1) if len(digest) == 64}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise BadInput(
            f"{path}, which {FILE} names, holds no golden digests ({why}): make it with workload.golden."
        ) from None
