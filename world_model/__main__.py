"""The commands of the learned game: `python -m world_model COMMAND --help`.

record      play and record the exact games
train       learn a model from a recording
compare     measure a model on held-out games, beside three baselines
agent       let the trained policy play whole games in a dream
play        a page (or a terminal) with the exact game and the learned one side by side
film        the same as an animation
"""

import importlib
import sys
from collections.abc import Sequence

from bitexact.cli import exits

COMMANDS = ("record", "train", "compare", "agent", "play", "film")


def main(arguments: Sequence[str]) -> None:
    """Call the command that is named. Raises BadInput."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return
    if arguments[0] not in COMMANDS:
        raise exits.BadInput(f"there is no command {arguments[0]}: it is one of {', '.join(COMMANDS)}.")
    importlib.import_module(f"world_model.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    sys.argv[0] = "world_model"
    exits.run(main)
