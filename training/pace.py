"""Where an update's time goes: seconds of a clock, for people. They decide nothing, and no digest has them in it.

    pace = Pace()
    with pace.timed(LEARN):
        state = batch.learn()
    pace.take()                      # {"play_s": 0.0, "learn_s": 0.8, "commit_s": 0.0}, and it begins anew

An update's line in metrics.jsonl says: `play_s`, from the first game that goes out until the last has come and been
counted in; `learn_s`; `commit_s`, checks, ledger and checkpoint, of the update before, as a line cannot say how long it
takes itself; and `idle_s`, how long an actor had nothing to play, in the mean of them.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

PLAY, LEARN, IDLE, COMMIT = "play_s", "learn_s", "idle_s", "commit_s"
SPENT = {PLAY: "playing", LEARN: "learning", IDLE: "an actor's idle time", COMMIT: "writing"}  # as it is shown


class Pace:
    """Seconds by what they were spent on, since they were last taken."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys((PLAY, LEARN, COMMIT), 0.0)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add to one of them the time until the block ends."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - began

    def take(self) -> dict[str, float]:
        """All of them; they begin anew."""
        taken, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
        return taken
