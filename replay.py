"""Recompute what a run recorded, on one process without Ray, and say whether every bit is the same.

    python replay.py RUN --update 120                  that update, from the nearest checkpoint before it
    python replay.py RUN --update 120 --rollout 3      one of its rollouts
    python replay.py RUN --update 120 --rollout 3 --video game.mp4 --trace game.csv
    python replay.py RUN --all                         the whole run, and every checkpoint on the way

The video (.mp4 or .gif) shows the game with the probability of going up and the reward so far; the trace holds one line
a step. A difference names the first rollout and the first array that differ. RUN is only read, and may be in progress.
The update after the last recorded one is recomputed too: where a property stopped the run in it, it fails again here.
Exit codes: 0 the same, 1 different, 2 bad input, 4 the disk is full or refuses; others as every command's
(bitexact/cli/exits.py, and --help).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput
from pong import film
from training.replayer import Replayer


@dataclass(frozen=True)
class Arguments:
    """Recompute what a run recorded, and say whether every bit is the same."""

    run: Annotated[Path, tyro.conf.Positional]
    """The run directory."""
    update: Annotated[int | None, tyro.conf.arg(metavar="K")] = None
    """The update to recompute."""
    rollout: Annotated[int | None, tyro.conf.arg(metavar="I")] = None
    """Only this rollout of it, counted from 0."""
    all: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Recompute the whole run from its first update."""
    video: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """With --rollout: write the game as FILE, .mp4 or .gif."""
    trace: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """With --rollout: write step, action, probability of up, and reward as FILE, comma-separated."""

    def check(self) -> None:
        """Raise BadInput for arguments that do not go together."""
        if self.all == (self.update is not None):
            raise BadInput("say what to replay: either --update K or --all.")
        if self.rollout is not None and self.update is None:
            raise BadInput("--rollout goes with --update: it counts within one update.")
        if (self.video or self.trace) and self.rollout is None:
            raise BadInput("--video and --trace go with --rollout: they show one game.")
        film.check_name(self.video)
        command_line.expect_a_folder(video=self.video, trace=self.trace)


def main(arguments: Sequence[str]) -> None:
    """Replay and print the verdict. Raises Differs."""
    chosen = command_line.parse(Arguments, arguments, "python replay.py")
    chosen.check()
    replayer = Replayer(chosen.run, print)
    if chosen.all:
        verdict = replayer.everything()
    elif chosen.rollout is None:
        verdict = replayer.update(chosen.update or 0)
    else:
        verdict = replayer.rollout(chosen.update or 0, chosen.rollout, chosen.video, chosen.trace)
    print(verdict)


if __name__ == "__main__":
    exits.run(main)
