"""The trainer's runs: how one is opened, and the settings that its config.json keeps."""

from bitexact.cli.exits import BadInput
from bitexact.storage import checkpoints
from bitexact.storage.checkpoints import BadCheckpoint
from bitexact.storage.run_directory import Opening
from bitexact.storage.state import State
from training import initial_state
from training.settings import Settings


def opening(settings: Settings) -> Opening:
    """How the settings ask for their run directory to be opened. Raises BadInput if given weights cannot be used."""
    return Opening(
        directory=settings.directory,
        config={"settings": settings.lasting()},
        first=_first_state(settings),  # now: its file may belong to the run that is to be overwritten
        first_is_given=settings.init_weights is not None,
        resume=settings.resume,
        overwrite=settings.overwrite,
    )


def _first_state(settings: Settings) -> State:
    first = initial_state.from_seed(settings)
    if settings.init_weights is None:
        return first
    try:
        given = checkpoints.load_weights(settings.init_weights, first)
    except BadCheckpoint as bad:
        raise BadInput(f"--init-weights: {bad}.") from None
    return initial_state.from_weights(settings, given.weights)
