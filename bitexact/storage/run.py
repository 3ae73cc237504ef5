"""A run as whoever reads it finds it: its config, its ledger, its checkpoints. Of any system, and in progress or not.

    run = Run.open(Path("runs/a"))
    run.config["settings"], run.ledger.last_update, run.newest_state(like, print)

Nothing here writes; `run_directory` does.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitexact.determinism import versions
from bitexact.storage import config
from bitexact.storage.checkpoints import Checkpoints
from bitexact.storage.ledger import Ledger
from bitexact.storage.state import State

CHECKPOINTS, PROPERTIES = "checkpoints", "properties"


class WrongBeginning(Exception):
    """What a run began with is not what its config says. The text is a sentence."""


@dataclass(frozen=True)
class Run:
    """One run's directory, read."""

    path: Path
    config: dict[str, Any]
    ledger: Ledger
    checkpoints: Checkpoints

    @classmethod
    def open(cls, path: Path) -> "Run":
        """The run in a directory. Raises BadInput if there is none, or its config is damaged."""
        return cls(path, config.read(path), Ledger(path), Checkpoints(path / CHECKPOINTS))

    @property
    def properties(self) -> Path:
        """The folder for what the SDK saw."""
        return self.path / PROPERTIES

    def other_versions(self) -> str:
        """What package versions are here instead of the run's, in words; empty if they are the same."""
        return versions.differences(versions.installed(), self.config["versions"])

    def first_state(self, otherwise: State) -> State:
        """The state that the run began with, if it was given; `otherwise` if not. Raises BadCheckpoint, WrongBeginning.

        `otherwise` is what its settings lead to, and must have the digest that its config names.
        """
        first = self.checkpoints.first(otherwise)
        if first.digest() != self.config["initial_digest"]:
            raise WrongBeginning(f"{self.path}: its settings do not give its initial weights.")
        return first

    def newest_state(self, like: State, tell: Callable[[str], None], not_after: float = math.inf) -> State | None:
        """The newest sound checkpoint's state that the ledger bears out. Each other one on the way is told of.

        One of an update that the ledger does not reach is not borne out: it may be an overwritten run's.
        """
        last = self.ledger.last_update
        for update in self.checkpoints.updates():
            if last < update <= not_after:
                tell(f"{self.checkpoints.path(update)} is not used: the ledger ends at update {last}")
        return self.checkpoints.newest_good(like, min(not_after, last), tell, self.ledger.digest)
