"""Play games with a trained policy, in parallel, and say how well it plays.

    python evaluate.py runs/pong-seed0-batch10                    100 games with its newest checkpoint
    python evaluate.py checkpoints/update-00000120.npz --greedy   always the more probable action
    python evaluate.py RUN --games 20 --json result.json --video game.mp4
    python evaluate.py pretrained/pong.npz --games 2 --watch      see it play, here in the terminal
    python evaluate.py RUN --save-weights pong.npz                the policy alone, for others

The games are the same for the same seed, whatever the number of actors: none of them is a game of training, and none
depends on another. The video shows the first game. JSON keys: games, mean, ci95_low, ci95_high, min, max, points_for,
points_against, games_won, steps_mean; `mean` to `max` are of a game's reward, its points for less those against.

Exit codes: 0 done, 1 a property failed, 2 bad input, 3 the cluster is lost, 4 the disk is full or refuses; others as
every command's (bitexact/cli/exits.py, and --help).
"""

import contextlib
import dataclasses
import functools
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from bitexact.cli import command_line, exits, process_environment
from bitexact.cli.exits import BadInput
from bitexact.cli.interrupts import Interrupts
from bitexact.storage import checkpoints, durable
from bitexact.storage.run import PROPERTIES
from pong import film, terminal
from pong.evaluation_summary import in_words, summary
from training import deciding_code, saved_policy
from training.settings import Settings

_MOST_GAMES = 100_000


@dataclass(frozen=True)
class Arguments:
    """Play games with a trained policy, and say how well it plays."""

    policy: Annotated[Path, tyro.conf.Positional]
    """A run directory, whose newest checkpoint is taken, or a checkpoint's file."""
    games: Annotated[int, tyro.conf.arg(metavar="N")] = 100
    """How many games."""
    greedy: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Always take the more probable action."""
    sampled: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Draw each action with its probability, as in training (the default)."""
    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Names the games: the same seed plays the same ones."""
    sticky_actions: Annotated[float | None, tyro.conf.arg(metavar="X")] = None
    """How probably a frame repeats the action before it; without it, as in the run, or 0.25 for a checkpoint's file."""
    actors: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Actors that play; without it, one per CPU. Never changes the result."""
    json: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the result as FILE, too."""
    video: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the first game as FILE, .mp4 or .gif."""
    watch: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Show the first game in this terminal, in real time, once all are played."""
    save_weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Write the policy alone, without what only training needs, as FILE."""

    def stickiness(self) -> float:
        """Of the games: as asked for, else as in the run."""
        return saved_policy.sticky_actions_of(self.policy) if self.sticky_actions is None else self.sticky_actions

    def check(self) -> None:
        """Raise BadInput for a value that cannot be used."""
        if not 1 <= self.games <= _MOST_GAMES:
            raise BadInput(f"--games must be a whole number from 1 to {_MOST_GAMES}, not {self.games}.")
        if self.greedy and self.sampled:
            raise BadInput("--greedy and --sampled exclude each other.")
        settings = Settings(seed=self.seed, actors=self.actors)
        settings.check()
        if self.sticky_actions is not None:
            dataclasses.replace(settings, sticky_actions=self.sticky_actions).check()
        film.check_name(self.video)
        command_line.expect_a_folder(json=self.json, video=self.video, save_weights=self.save_weights)
        if self.watch:
            terminal.expect_one()


def main(arguments: Sequence[str]) -> None:
    """Play, and print what came of it. Raises BadInput, PropertyFailed, ClusterLost, Interrupted."""
    chosen = command_line.parse(Arguments, arguments, "python evaluate.py")
    chosen.check()
    interrupts = Interrupts()
    state = saved_policy.load(chosen.policy, print)
    sticky_actions = chosen.stickiness()
    with _properties_of(chosen.policy) as folder, interrupts.blamed():
        process_environment.prepare_driver(folder, embedded=True)
        interrupts.defer(exits.at_once)
        # With these come Ray and the SDK, which read the environment that has only now been prepared.
        from bitexact.cluster.ray_cluster import RayCluster
        from pong import evaluator
        from pong_actor import PongEnv

        games = evaluator.Games(chosen.games, chosen.seed, chosen.greedy, sticky_actions)
        actor = PongEnv, chosen.seed, Settings.discount, games.make
        start = functools.partial(RayCluster, *actor, expected=deciding_code.describe_process())
        found = summary(evaluator.play(games, state.weights, start, chosen.actors, interrupts))
        if chosen.video or chosen.watch:
            evaluator.show_first(games, state.weights, chosen.video, chosen.watch)
    if chosen.save_weights:
        checkpoints.write(chosen.save_weights, state)
    if chosen.json:
        durable.write_atomically(chosen.json, json.dumps(found, indent=1).encode() + b"\n")
    how = "greedy" if chosen.greedy else "sampled"
    print(f"{chosen.policy}, after update {state.update}: {in_words(found)} ({how}, seed {chosen.seed})")


@contextlib.contextmanager
def _properties_of(path: Path) -> Iterator[Path]:
    """Where to note what is seen of the properties: with the run, so that its report tells; else for this time only."""
    if path.is_dir():
        yield path / PROPERTIES
        return
    with tempfile.TemporaryDirectory(prefix="ray-pong-") as folder:
        yield Path(folder)


if __name__ == "__main__":
    exits.run(main)
