"""Which source files decide a run's result: a run goes on with these files only, on whichever node."""

import dataclasses
import functools

from bitexact.determinism import code, process
from bitexact.determinism.process import ProcessInfo

# Of `training`: what runs, records or shows an update, and no bit of it depends on.
_BESIDE = (
    *("charts", "deciding_code", "golden", "learning_curve", "loop", "pace", "recorder", "referee"),
    *("replayer", "run_config", "saved_policy", "settings"),
)


def modules() -> list[str]:
    """By their names, in alphabetical order."""
    beside = {f"training.{name}" for name in _BESIDE}
    of_training = [name for name in code.modules_of("training") if name not in beside]
    return sorted(["policy", "pong.game", "pong.play", *of_training, *code.modules_of("bitexact.determinism")])


@functools.cache
def at_start(*of_the_game: str) -> dict[str, str]:
    """The digests of these files when this process first asked: an edit while it runs is noticed, not taken over.

    Where the game is not the emulator's own, the files that it is made of decide, too.
    """
    return code.digests([*modules(), *of_the_game])


def describe_process(*of_the_game: str) -> ProcessInfo:
    """This process as every actor's must be: same packages, same code."""
    return dataclasses.replace(process.describe(), code=at_start(*of_the_game))
