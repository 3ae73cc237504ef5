"""Play games with a trained policy, in parallel, and say how well it plays.

    python evaluate.py runs/pong-seed0-batch10                    100 games with its newest checkpoint
    python evaluate.py checkpoints/update-00000120.npz --greedy   always the more probable action
    python evaluate.py RUN --games 20 --json result.json --video game.mp4
    python evaluate.py pretrained/pong.npz --games 2 --watch      see it play, here in the terminal
    python evaluate.py RUN --save-weights pong.npz                the policy alone, for others

The games are the same for the same seed, whatever the number of actors: none of them is a game of training, and none
depends on another. The video shows the first game. JSON keys: games, mean, ci95_low, ci95_high, min, max, points_for,
points_against, games_won, steps_mean; `mean` to `max` are of a game's reward, its points for less those against.

Exit codes: 0 done, 1 a property failed, 2 bad input, 3 the cluster is lost, 4 the disk is full or
refuses, 130 and 143 interrupted.
"""

import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from scipy import stats

from bitexact.cli import command_line, environment, exits
from bitexact.cli.exits import BadInput
from bitexact.cli.interrupts import Interrupts
from bitexact.cli.progress import bar
from bitexact.cluster.pool import Key, Pool, PoolSettings
from bitexact.determinism import versions
from bitexact.determinism.arrays import Arrays
from bitexact.storage import checkpoints, durable
from bitexact.storage.checkpoints import BadCheckpoint, Checkpoints
from bitexact.storage.run_directory import CHECKPOINTS, PROPERTIES
from bitexact.storage.state import State
from pong import film, terminal
from pong.game import Pong
from training import initial_state
from training.settings import PPO, REINFORCE, Settings, of_preset, read_settings

if TYPE_CHECKING:
    from pong.evaluation import GameResult
    from pong_actor import Greeting

_MOST_GAMES = 100_000
_NOT_OF_AN_EVALUATION = 0.0, 0.0  # discount and trace decay, which are for learning


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

    def check(self) -> None:
        """Raise BadInput for a value that cannot be used."""
        if not 1 <= self.games <= _MOST_GAMES:
            raise BadInput(f"--games must be a whole number from 1 to {_MOST_GAMES}, not {self.games}.")
        if self.greedy and self.sampled:
            raise BadInput("--greedy and --sampled exclude each other.")
        Settings(seed=self.seed, actors=self.actors).check()
        film.check_name(self.video)
        command_line.expect_a_folder(json=self.json, video=self.video, save_weights=self.save_weights)
        if self.watch:
            terminal.expect_one()


def main(arguments: Sequence[str]) -> None:
    """Play, and print what came of it. Raises BadInput, PropertyFailed, ClusterLost, Interrupted."""
    chosen = command_line.parse(Arguments, arguments, "python evaluate.py")
    chosen.check()
    interrupts = Interrupts()
    state = _load(chosen.policy)
    with _properties_of(chosen.policy) as folder, interrupts.blamed():
        environment.prepare_driver(folder, embedded=True)
        results = _play(chosen, state.weights, interrupts)
        if chosen.video or chosen.watch:
            _show(chosen, state.weights)
    found = summary(results)
    if chosen.save_weights:
        checkpoints.write(chosen.save_weights, state)
    if chosen.json:
        durable.write_atomically(chosen.json, json.dumps(found, indent=1).encode() + b"\n")
    how = "greedy" if chosen.greedy else "sampled"
    print(f"{chosen.policy}, after update {state.update}: {in_words(found)} ({how}, seed {chosen.seed})")


def summary(results: Sequence["GameResult"]) -> dict[str, Any]:
    """What JSON says of some games. The interval is Student's, for the mean; none for a single game."""
    rewards = [result.reward for result in results]
    games, mean = len(rewards), math.fsum(rewards) / len(rewards)
    half = math.nan
    if games > 1:
        variance = math.fsum((reward - mean) ** 2 for reward in rewards) / (games - 1)
        half = float(stats.t.ppf(0.975, games - 1)) * math.sqrt(variance / games)
    return {
        "games": games,
        "mean": mean,
        "ci95_low": None if math.isnan(half) else mean - half,
        "ci95_high": None if math.isnan(half) else mean + half,
        "min": min(rewards),
        "max": max(rewards),
        "points_for": sum(result.points_for for result in results),
        "points_against": sum(result.points_against for result in results),
        "games_won": sum(reward > 0 for reward in rewards),
        "steps_mean": math.fsum(result.steps for result in results) / games,
    }


def in_words(found: dict[str, Any]) -> str:
    """The same as a sentence."""
    low, high = found["ci95_low"], found["ci95_high"]
    interval = "" if low is None else f" (95 % interval {low:+.2f} to {high:+.2f})"
    return (
        f"mean reward {found['mean']:+.2f}{interval}, from {found['min']:+d} to {found['max']:+d}; "
        f"{found['games_won']} of {found['games']} games won, "
        f"points {found['points_for']} : {found['points_against']}, {found['steps_mean']:,.0f} steps a game"
    )


def _load(path: Path) -> State:
    """The policy of a checkpoint's file, or of the newest good one of a run, without optimizer. Raises BadInput."""
    try:
        if not path.is_dir():
            return checkpoints.load_weights(path, initial_state.from_seed(_settings_of(path)).weights)
        settings = read_settings(path)
        newest = Checkpoints(path / CHECKPOINTS).newest_good(initial_state.from_seed(settings), math.inf, print)
    except BadCheckpoint as bad:
        raise BadInput(f"{bad}: name a run directory or one of its checkpoints.") from None
    if newest is None:
        raise BadInput(f"{path} has no good checkpoint yet: one is written every few updates, and when training stops.")
    return State(newest.update, newest.weights, {})


def _settings_of(path: Path) -> Settings:
    """Settings that lead to arrays like those in a checkpoint."""
    weights = checkpoints.load(path).weights
    shape = weights["W2"].shape if "W2" in weights else ()
    if len(shape) != 1:
        raise BadCheckpoint(f"{path} does not hold a policy")
    return of_preset(PPO if "V" in weights else REINFORCE, hidden_units=int(shape[0]))


@contextlib.contextmanager
def _properties_of(path: Path) -> Iterator[Path]:
    """Where to note what is seen of the properties: with the run, so that its report tells; else for this time only."""
    if path.is_dir():
        yield path / PROPERTIES
        return
    with tempfile.TemporaryDirectory(prefix="ray-pong-") as folder:
        yield Path(folder)


def _play(chosen: Arguments, weights: Arrays, interrupts: Interrupts) -> list["GameResult"]:
    """The games' results, in order, played by actors."""
    interrupts.defer(exits.at_once)
    from bitexact.cluster.ray_cluster import RayCluster, connect
    from pong_actor import PongEnv  # imports Ray and the SDK, which read the environment that was just prepared

    with connect(None, chosen.actors):
        cluster = RayCluster(PongEnv, chosen.seed, *_NOT_OF_AN_EVALUATION, tuple(versions.pinned()))
        pool = Pool(cluster, PoolSettings(chosen.actors, chosen.games), _Listener(interrupts))
        keys = [(index,) for index in range(chosen.games)]
        arriving = bar(pool.run("evaluate", (weights, chosen.greedy), keys), "playing", total=chosen.games)
        return [result for _, result in sorted(arriving, key=lambda arrival: arrival[0])]


def _show(chosen: Arguments, weights: Arrays) -> None:
    """The first game, as a video and in the terminal."""
    from pong.evaluation import EvaluationTask, evaluation_id  # it imports the SDK: see above

    first = evaluation_id(chosen.seed, index=0)
    trajectory = EvaluationTask(chosen.greedy).play(Pong(), weights, first)
    if chosen.video:
        film.write_video(chosen.video, trajectory, first)
    if chosen.watch:
        terminal.watch(trajectory, first)


class _Listener:
    """What the pool tells, and asks."""

    def __init__(self, interrupts: Interrupts) -> None:
        self.interrupt = interrupts.check
        self._versions = versions.installed()

    def event(self, text: str) -> None:
        print(text, file=sys.stderr)

    def refusal(self, greeting: "Greeting") -> str:
        return greeting.objection(self._versions)

    def fingerprint(self, value: "GameResult") -> str:
        return repr(value)

    def duplicate(self, key: Key, first: str, second: str) -> None:
        import invariants

        invariants.a_rollout_done_twice_gives_the_same_bytes(first, second, {"index": key[0]})


if __name__ == "__main__":
    exits.run(main)
