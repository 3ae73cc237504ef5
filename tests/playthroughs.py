"""Golden playthroughs: small scenarios told step by step, so that a change shows what moved, and not only that it did.

    make golden                                       writes tests/golden/*.txt anew, after a change that is meant
    pytest tests/test_playthroughs.py                 tells them again, and compares

A scenario is a function here that yields lines: what happened, actions, rewards, the first digits of digests. After
OpenSpiel's playthroughs. No Ray, no clock, no path of this machine.
"""

import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from commands import GOLDEN_SETTINGS, PPO_SETTINGS
from simulated_cluster import NEVER, Script, SimulatedCluster
from small_runs import Diary, go_on, small_settings, train, without_waiting

from bitexact.cluster.interface import PoolSettings
from bitexact.cluster.pool import Pool
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprint
from bitexact.determinism.tree_sum import TreeSum
from bitexact.storage.ledger import METRICS
from bitexact.storage.run_directory import CHECKPOINTS
from bitexact.storage.state import State
from pong.evaluation import EvaluationTask, evaluation_id
from pong.game import Pong
from pong.play import RolloutId, Trajectory, play
from training import initial_state
from training.replayer import Replayer
from training.rollout_record import RolloutRecord
from training.rollout_task import task_of
from training.settings import Settings
from training.update import compute_update

FOLDER = Path(__file__).parent / "golden"
DIGITS, WIDTH = 12, 100
Scenario = Callable[[Path], Iterator[str]]


def told(scenario: Scenario) -> str:
    """A scenario as text: told in an empty folder, whose name is left out."""
    with tempfile.TemporaryDirectory() as folder, without_waiting():
        lines = [scenario.__doc__ or "", *scenario(Path(folder))]
        return "\n".join(lines).replace(folder, "FOLDER").replace(" \n", "\n") + "\n"


# ---- a game, and what is learned from games -----------------------------------------------------------------------


def one_game(folder: Path) -> Iterator[str]:
    """A game by the initial weights: u is up, d is down; + and - follow the step that won or lost a point."""
    state = initial_state.from_seed(Settings(**GOLDEN_SETTINGS))
    trajectory = play(Pong(), state.weights, RolloutId(GOLDEN_SETTINGS["seed"], 1, 0))
    yield f"steps {len(trajectory.rewards)}, reward {trajectory.rewards.sum():+d}"
    yield from actions(trajectory)
    for t in (0, 1, 100, 500, len(trajectory.rewards) - 1):
        seen = trajectory.observations[[t]]
        digest = fingerprint({"pixels": seen.indices, "signs": seen.data, "hidden": trajectory.hidden[t]})[:DIGITS]
        yield f"step {t}: {seen.nnz} pixels changed, probability {trajectory.probabilities[t].hex()}, digest {digest}"


def actions(trajectory: Trajectory) -> Iterator[str]:
    """The actions and the points of a game."""
    steps = zip(trajectory.ups.tolist(), trajectory.rewards.tolist(), strict=True)
    text = "".join("du"[up] + ("", "+", "-")[reward] for up, reward in steps)
    return (text[begin : begin + WIDTH] for begin in range(0, len(text), WIDTH))


def reinforce(folder: Path) -> Iterator[str]:
    """Two updates of three rollouts, preset reinforce."""
    return updates(Settings(**GOLDEN_SETTINGS))


def ppo(folder: Path) -> Iterator[str]:
    """Two updates of three rollouts, preset ppo."""
    return updates(Settings(**PPO_SETTINGS))


def updates(settings: Settings) -> Iterator[str]:
    state, game = initial_state.from_seed(settings), Pong()
    yield from digests(state)
    for _ in range(2):
        state, batch = compute_update(settings, state, game)
        for record in batch.records:
            yield rollout(record)
        yield from digests(state)


def rollout(record: RolloutRecord) -> str:
    arrays = ", ".join(f"{name} {digest[:DIGITS]}" for name, digest in sorted(record.arrays.items()))
    points = f"{record.points_won} won, {record.points_lost} lost in {record.steps} steps"
    return f"  rollout {record.index}: {points}; {arrays}"


def digests(state: State) -> Iterator[str]:
    yield f"after update {state.update}: {state.digest()[:DIGITS]}"
    for name, array in sorted({**state.weights, **state.optimizer}.items()):
        yield f"  {name} {'x'.join(map(str, array.shape))} {fingerprint({name: array})[:DIGITS]}"


def evaluation(folder: Path) -> Iterator[str]:
    """Games that judge the initial weights of the default policy: drawn actions, then the more probable ones."""
    weights = initial_state.from_seed(Settings()).weights
    for greedy in (False, True):
        for index in range(2):
            _, result = EvaluationTask(greedy).run(Pong(), weights, evaluation_id(5, index))
            score = f"{result.points_for} : {result.points_against} in {result.steps} steps"
            yield f"greedy {greedy}, game {index}: {score}"
    yield from actions(EvaluationTask(False).play(Pong(), weights, evaluation_id(5, 0)))


def order_of_a_sum(folder: Path) -> Iterator[str]:
    """In which order a batch is added, for batches of 1 to 12: it does not depend on which rollout comes first."""
    for count in range(1, 13):
        total = TreeSum(count)
        for index in reversed(range(count)):
            total.add(index, {"": np.array(Term(str(index)), dtype=object)})
        yield f"{count}: {total.total()['']}"


class Term:
    """A number that keeps how it was added."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __add__(self, other: "Term") -> "Term":
        return Term(f"({self}+{other})")

    def __str__(self) -> str:
        return self._text


# ---- a run's directory --------------------------------------------------------------------------------------------


def a_run_resumed(folder: Path) -> Iterator[str]:
    """A run of three updates, resumed until the sixth: what it says, computes and commits."""
    yield from training(small_settings(folder / "run", updates=3))
    yield from training(small_settings(folder / "run"))


def a_torn_ledger(folder: Path) -> Iterator[str]:
    """A run of three updates whose ledger ends in half a line, resumed."""
    yield from training(small_settings(folder / "run", updates=3))
    with (folder / "run" / METRICS).open("a") as ledger:
        ledger.write('{"update": 4, "weights_dig')
    yield from training(small_settings(folder / "run"))


def a_damaged_checkpoint(folder: Path) -> Iterator[str]:
    """A run of four updates whose newest checkpoint has a flipped bit, resumed."""
    settings = small_settings(folder / "run", updates=4, keep_checkpoints=2)
    yield from training(settings)
    path = max((folder / "run" / CHECKPOINTS).iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1  # within W1
    path.write_bytes(data)
    yield from training(small_settings(folder / "run", keep_checkpoints=2))


def training(settings: Settings) -> Iterator[str]:
    diary = Diary()
    state = go_on(settings, diary)
    yield f"begun after update {diary.began_after}"
    yield from (f"  says: {note}" for note in diary.notes)
    yield f"  computes {diary.computed}, commits {diary.committed}, writes checkpoints {diary.checkpointed}"
    yield f"  files {sorted(path.name for path in settings.directory.rglob('*.npz'))}"
    yield f"  ends after update {state.update}: {state.digest()[:DIGITS]}"


def a_replay(folder: Path) -> Iterator[str]:
    """A run of two real updates, recomputed from its directory: all of it, one update, one rollout."""
    game = Pong()

    def played(settings: Settings, weights: Arrays, update: int, index: int) -> tuple[Any, RolloutRecord]:
        return task_of(settings).run(game, weights, RolloutId(settings.seed, update, index))

    settings = small_settings(folder / "run", updates=2, batch_size=1, hidden_units=4)
    yield f"recorded: {train(settings, rollout=played).digest()[:DIGITS]}"
    said: list[str] = []
    replayer = Replayer(folder / "run", said.append)
    said += [replayer.everything(), replayer.update(1), replayer.rollout(2, 0, None, None)]
    yield from said


# ---- the pool -----------------------------------------------------------------------------------------------------


def the_pool_undisturbed(folder: Path) -> Iterator[str]:
    """Six items on two nodes, of two CPUs and one, in simulated time."""
    return pool(Script(nodes=(2, 1), durations=(3.0, 1.0, 2.0)))


def an_actor_lost(folder: Path) -> Iterator[str]:
    """Six items; the actors on one of two nodes die in them, and it leaves."""
    return pool(Script(nodes=(2, 2), durations=(4.0, 4.0, 5.0), faults=((2.0, "kill", 0), (3.0, "leave", 0))))


def a_frozen_actor(folder: Path) -> Iterator[str]:
    """Six items; an actor stands still, its item is raced, and it answers late."""
    return pool(Script(nodes=(3,), durations=(1.0, NEVER), faults=((1.5, "freeze", 1), (200.0, "thaw", 0))))


def pool(script: Script) -> Iterator[str]:
    cluster = SimulatedCluster(lambda task, value, key: (value, SimpleNamespace(digest=f"{value}{key}")), script)
    its_pool = Pool(cluster, PoolSettings(at_most=4), cluster.listener)
    its_pool.wait_until_ready()
    came = [
        f"{key} at {cluster.now():.1f} s"
        for key, _ in its_pool.run("play", "w", [RolloutId(0, 1, i) for i in range(6)])
    ]
    yield from (f"says: {line}" for line in cluster.listener.events)
    for ticket in cluster.submitted:
        yield f"begun at {ticket.begun:.1f} s: {ticket.key} by actor {ticket.actor.number} on {ticket.actor.node.name}"
    yield f"came: {', '.join(came)}"
    yield f"counts: {dict(sorted(its_pool.take_counts().items()))}"


SCENARIOS: tuple[Scenario, ...] = (
    *(one_game, reinforce, ppo, evaluation, order_of_a_sum),
    *(a_run_resumed, a_torn_ledger, a_damaged_checkpoint, a_replay),
    *(the_pool_undisturbed, an_actor_lost, a_frozen_actor),
)


def path_of(scenario: Scenario) -> Path:
    """The file that holds a scenario."""
    return FOLDER / f"{scenario.__name__}.txt"


def write(scenarios: Iterable[Scenario]) -> None:
    """Write the files anew."""
    for scenario in scenarios:
        path_of(scenario).write_text(told(scenario))


if __name__ == "__main__":
    write(one for one in SCENARIOS if one.__name__ in sys.argv[1:] or not sys.argv[1:])
