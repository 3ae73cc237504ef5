"""A policy that training has saved: in a run's newest good checkpoint, or in a file."""

from collections.abc import Callable
from pathlib import Path

from bitexact.cli.exits import BadInput
from bitexact.storage import checkpoints
from bitexact.storage.checkpoints import BadCheckpoint
from bitexact.storage.run import Run
from bitexact.storage.state import State
from training import initial_state
from training.settings import PPO, REINFORCE, Settings, of_preset, read_settings


def load(path: Path, tell: Callable[[str], None]) -> State:
    """The policy of a checkpoint's file, or of the newest checkpoint that a run's ledger bears out: no optimizer.

    Raises BadInput if there is none. Bad checkpoints on the way to it are told of.
    """
    try:
        if not path.is_dir():
            return checkpoints.load_weights(path, initial_state.outline(settings_of(path)))
        newest = Run.open(path).newest_state(initial_state.outline(read_settings(path)), tell)
    except BadCheckpoint as bad:
        raise BadInput(f"{bad}: name a run directory or one of its checkpoints.") from None
    if newest is None:
        raise BadInput(f"{path} has no good checkpoint yet: one is written every few updates, and when training stops.")
    return State(newest.update, newest.weights, {})


def sticky_actions_of(path: Path) -> float:
    """Of the game that a run's policy was trained in; of a file's nobody knows, and ALE/Pong-v5's is taken."""
    return read_settings(path).sticky_actions if path.is_dir() else Settings.sticky_actions


def settings_of(path: Path) -> Settings:
    """Settings that lead to arrays like those that a file is said to hold. Raises BadCheckpoint."""
    kinds = checkpoints.kinds_in(path)
    (shape, _), (first_shape, _) = kinds.get("W2", ((), "")), kinds.get("W1", ((), ""))
    if len(shape) != 1 or first_shape[1:] != shape:  # where they agree, what is made like them is as large as the file
        raise BadCheckpoint(f"{path} does not hold a policy")
    settings = of_preset(PPO if "V" in kinds else REINFORCE, hidden_units=shape[0])
    try:
        settings.check()
    except BadInput:
        raise BadCheckpoint(f"{path} does not hold a policy of this game") from None
    return settings
