"""What stands between a simulated run's driver and the world: a cluster that plays rollouts, a disk that dies with it.

Used by `simulation.py`.
"""

import errno
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from simulated_cluster import Actor, Script, Shared, SimulatedCluster, Ticket
from small_runs import CHANGING, Diary, Kill, Killed, PowerCut, Refuse, full_from
from tiny_game import TinyGame

from bitexact.cli.exits import BadInput, ClusterLost
from bitexact.cluster.interface import Damaged
from bitexact.determinism.arrays import Arrays
from bitexact.determinism.digests import fingerprint
from bitexact.storage.state import State
from training.recorder import Recorder
from training.settings import Settings

_IMPATIENCE_S = 1.0  # by which the pool may think that an execution began earlier


class WatchedDiary(Diary):
    """What a driver said and did, and whether a second one was let in."""

    intruded = False


class WatchedRecorder(Recorder):
    """The driver's, which also tells the diary where it began and what it has saved."""

    def restore(self) -> State:
        """Where the driver goes on from."""
        state = super().restore()
        self._diary.began_after = state.update
        return state

    def checkpoint(self) -> None:
        """A checkpoint is told of once the driver believes that it is there."""
        before = self._checkpointed
        super().checkpoint()
        if self._checkpointed != before:
            self._diary.checkpointed.append(self._checkpointed)

    @property
    def _diary(self) -> Diary:
        assert isinstance(self._progress, Diary)
        return self._progress


# ---- the cluster --------------------------------------------------------------------------------------------------


class _Weights:
    """A shared value that can be compared: the same only if it is the same object."""

    def __init__(self, arrays: Arrays) -> None:
        self.arrays = arrays

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Weights) and self.arrays is other.arrays

    def __hash__(self) -> int:
        return id(self.arrays)


class RolloutCluster(SimulatedCluster):
    """Actors that play the tiny game. What a fault damages is damaged, and seen or not as on Ray."""

    def __init__(self, script: Script, slow: Iterable[tuple[int, float]], settings: Settings) -> None:
        super().__init__(self._play, script, settings.actors or settings.batch_size)
        self._slow, self._settings = dict(slow), settings
        self._game = TinyGame()
        self._to_flip: set[Ticket] = set()
        self._finishing: Ticket | None = None
        self._begun_at: dict[Ticket, float] = {}

    def takes_s(self, ticket: Ticket) -> float:
        """As the script says, unless the rollout is a slow one."""
        self._begun_at[ticket] = self.counted_time
        return self._slow.get(ticket.key.index, super().takes_s(ticket))

    def share(self, value: Any) -> Shared:
        """Put weights where all actors can read them."""
        return super().share(_Weights(value))

    def stop_actor(self, actor: Actor) -> None:
        """An actor at work is stopped only if it is lost, useless, or has had its time."""
        ticket = actor.ticket
        if actor.alive and actor.busy and ticket in self._begun_at and actor.node.id in self._in_use():
            given_s = self.counted_time - self._begun_at[ticket] + _IMPATIENCE_S
            limit_s = 2 * (self._settings.rollout_timeout_s or 0.0)
            assert given_s >= limit_s, "an actor at work is killed before its time is over"
        super().stop_actor(actor)

    def damage(self, which: int) -> None:
        """A bit of what an actor is computing is flipped on its way."""
        if at_work := self._at_work():
            self._to_flip.add(at_work[which % len(at_work)])

    def _in_use(self) -> set[str]:
        """The nodes that the pool has heard of and not refused."""
        return {node.id for node in self.told} - self.refused

    def _finish(self, ticket: Ticket) -> None:
        self._finishing = ticket
        super()._finish(ticket)

    def _play(self, task: Any, shared: _Weights, key: Any) -> Any:
        outcome = _played(task, shared.arrays, key, self._game)
        if self._finishing in self._to_flip:
            outcome = (_flipped(outcome[0]), outcome[1])
        if different := outcome[1].mismatch(outcome[0]):  # as `RayCluster.result` does
            raise Damaged(different)
        return outcome


_PLAYED: dict[Any, Any] = {}


def _played(task: Any, weights: Arrays, key: Any, game: TinyGame) -> Any:
    """A rollout, a pure function: one that was played in another history is not played again."""
    name = (task, fingerprint(weights), key)
    if name not in _PLAYED:
        outcome = task.run(game, weights, key)
        for array in _arrays(outcome[0]).values():
            array.flags.writeable = False  # as what Ray brings
        _PLAYED[name] = outcome
    return _PLAYED[name]


def _arrays(result: Any) -> Arrays:
    arrays: Arrays = result if isinstance(result, dict) else result.arrays()
    return arrays


def _flipped(result: Any) -> Any:
    """A gradient or a game's steps with one bit changed."""
    name, array = next(iter(_arrays(result).items()))
    changed = array.copy()
    changed.view("u1").reshape(-1)[-1] ^= 1
    return {**result, name: changed} if isinstance(result, dict) else type(result)(**{**vars(result), name: changed})


def excused(end: ClusterLost | BadInput, cluster: SimulatedCluster, settings: Settings) -> None:
    """Assert that a cluster that was given up was lost for as long as the settings say, or never any good."""
    limit_s = settings.cluster_timeout_s - 1.0
    if isinstance(end, BadInput):
        usable = [node for node in cluster.usable(cluster.told) if node.id not in cluster.raised]
        assert not cluster.taken, "a cluster that has worked is refused"
        assert not usable, "a cluster is refused although there is a node that may be used"
    elif "was begun" in str(end):
        raise AssertionError("a rollout never comes to its end")
    elif "has not answered" in str(end):
        assert cluster.counted_time - cluster.heard_at > limit_s, "a silent head is given up too early"
    else:
        assert cluster.pool_time - cluster.ready_at > limit_s, "a cluster without actors is given up too early"


# ---- the disk -----------------------------------------------------------------------------------------------------


class DyingDisk:
    """A disk that fails as an end of life says, or dies with its process at a time. For `small_runs.disk`."""

    def __init__(self, folder: Path, end: tuple[str, float] | None) -> None:
        kind, at = end or ("", math.inf)
        self._handler: Any = {
            "kill": lambda: Kill(at),
            "half": lambda: Kill(at, half=True),
            "power": lambda: PowerCut(folder, at),
            "powerless": lambda: PowerCut(folder),
            "full": lambda: full_from(at),
            "short": lambda: full_from(at, short=True),
            "broken": lambda: Refuse(errno.EIO, CHANGING, at),
        }.get(kind, Kill)()
        self._calls, self._dead = 0, False
        self._beside: tuple[int | None, Callable[[], None]] = (None, lambda: None)

    def meanwhile(self, at: int | None, action: Callable[[], None]) -> None:
        """Have something else happen before a call."""
        self._beside = (at, action)

    def die(self) -> None:
        """The process is killed here. Raises Killed."""
        self._dead = True
        raise Killed

    def after(self) -> None:
        """What is left once the machine stands again."""
        if isinstance(self._handler, PowerCut):
            self._handler.cut()

    def __call__(self, name: str, args: tuple[Any, ...], real: Callable[..., Any]) -> Any:
        if self._dead:
            raise Killed
        self._calls += 1
        at, action = self._beside
        if self._calls == at:
            self._beside = (None, lambda: None)
            handler, self._handler = self._handler, lambda name, args, real: real(*args)
            try:
                action()
            finally:
                self._handler = handler
        return self._handler(name, args, real)
