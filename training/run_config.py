"""The trainer's runs: how one is opened, and the settings that its config.json keeps."""

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput
from bitexact.determinism import code
from bitexact.storage import checkpoints, config
from bitexact.storage.checkpoints import BadCheckpoint
from bitexact.storage.run_directory import Opening
from bitexact.storage.state import State
from pong.games import ChosenGame
from training import deciding_code, initial_state
from training.settings import Settings


def opening(settings: Settings) -> Opening:
    """How the settings ask for their run directory to be opened. Raises BadInput if given weights cannot be used."""
    game = settings.game()
    return Opening(
        directory=settings.directory,
        config={"settings": settings.lasting(), **_code(game)},
        first=_first_state(settings),  # now: its file may belong to the run that is to be overwritten
        first_is_given=settings.init_weights is not None,
        resume=settings.resume,
        overwrite=settings.overwrite,
        notes=[_accepted(settings, game)] if settings.resume else [],
    )


def expect_game(recorded: Mapping[str, Any], game: ChosenGame, directory: Path) -> None:
    """Raise BadInput unless a run's config names this game: the emulator's, or the dream of the same model."""
    before = recorded.get("game", "")
    if before != game.digest:
        of_which = f"the dream of the model with digest {before}" if before else "the emulator's game"
        raise BadInput(
            f"the run in {directory} was made in {of_which}, and here is "
            f"{game.digest or 'the game of the emulator'}: name the run's own model, or choose another --run-dir."
        )


def difference_of_code(recorded: Mapping[str, Any], game: ChosenGame) -> str:
    """What of the code that decides the result is not as in a run's config, in words; empty if nothing is."""
    if "code" not in recorded:  # by an earlier version
        return ""
    here = _code(game)
    names = code.difference(here["code"], recorded["code"])
    machine = recorded.get("machine", here["machine"])
    return names or ("" if machine == here["machine"] else f"a processor of {here['machine']}, not {machine}")


def _code(game: ChosenGame) -> dict[str, Any]:
    dreamt = {"game": game.digest} if game.digest else {}
    return {"code": deciding_code.at_start(*game.modules), "machine": platform.machine(), **dreamt}


def _accepted(settings: Settings, game: ChosenGame) -> str:
    """What the ledger is to say of other code than the run's. Raises BadInput unless it is accepted."""
    recorded = config.read(settings.directory)
    expect_game(recorded, game, settings.directory)
    different = difference_of_code(recorded, game)
    if different and not settings.accept_new_code:
        raise BadInput(
            f"the run in {settings.directory} was made with other code ({different}): its results would change; "
            f"restore the run's code, or go on with this one with --accept-new-code."
        )
    return f"goes on with other code than before ({different}), which was accepted" if different else ""


def _first_state(settings: Settings) -> State:
    first = initial_state.from_seed(settings)
    if settings.init_weights is None:
        return first
    try:
        given = checkpoints.load_weights(settings.init_weights, first)
    except BadCheckpoint as bad:
        raise BadInput(f"--init-weights: {bad}.") from None
    return initial_state.from_weights(settings, given.weights)
