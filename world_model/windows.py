"""What a model is trained on: windows of steps, none of which crosses a serve, and batches of them.

Half of a batch is drawn from all steps, half from those at which something happens, each kind of event alike: hits are
one step of a hundred. A batch is a function of (seed, update).
"""

from dataclasses import dataclass

import numpy as np

from bitexact.determinism.streams import Stream
from world_model import invariants
from world_model.features import Constants, constants_of, features
from world_model.recording import Recording
from world_model.states import BALL_X, BALL_Y, PREDICTED_EVENTS, SPEED_X, SPEED_Y, WAIT, Purpose


@dataclass(frozen=True)
class Steps:
    """All steps of a split but the serves, one after another, and to which rally each belongs."""

    features: np.ndarray  # float32 [T, D]
    events: np.ndarray  # float32 [T, E]
    mask: np.ndarray  # float32 [T, P]
    change: np.ndarray  # float32 [T, P]
    plays: np.ndarray  # float32 [T]
    first: np.ndarray  # int64 [T]: the first step of its rally
    end: np.ndarray  # int64 [T]: one past the last

    def __len__(self) -> int:
        return len(self.features)


def pairs(recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """The states before and after every step but the serves, [T, V] each."""
    rallies = [(one, *rally) for one in recording.episodes for rally in one.rallies()]
    before = np.concatenate([one.states[first:end] for one, first, end in rallies])
    return before, np.concatenate([one.states[first + 1 : end + 1] for one, first, end in rallies])


def steps_of(recording: Recording, constants: Constants, gate: bool) -> Steps:
    """Lay a recording out for training."""
    rallies = [(one, *rally) for one in recording.episodes for rally in one.rallies()]
    before, after = pairs(recording)
    actions = np.concatenate([one.actions[first:end] for one, first, end in rallies]).astype(np.float64)
    previous = np.concatenate([_previous(one.actions)[first:end] for one, first, end in rallies])
    lengths = np.array([end - first for _, first, end in rallies])
    ends = np.cumsum(lengths)
    count = len(recording.layout.variables)
    plays = before[:, WAIT] == 0
    change = (after - before)[:, :count]
    if gate:
        change[:, BALL_X] -= before[:, SPEED_X]
        change[:, BALL_Y] -= before[:, SPEED_Y]
    mask = np.ones_like(change)
    mask[~plays, BALL_X : SPEED_Y + 1] = 0.0
    return Steps(
        features=features(recording.layout, constants, before, actions, previous).astype(np.float32),
        events=np.concatenate([one.events[first:end, : len(PREDICTED_EVENTS)] for one, first, end in rallies]).astype(
            np.float32
        ),
        mask=mask.astype(np.float32),
        change=(change / constants.scale).astype(np.float32),
        plays=plays.astype(np.float32),
        first=np.repeat(ends - lengths, lengths),
        end=np.repeat(ends, lengths),
    )


def _previous(actions: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros((1, 2)), actions[:-1]])


class Batches:
    """Draws the windows of each update."""

    def __init__(self, steps: Steps, seed: int, windows: int, length: int) -> None:
        self._steps, self._seed, self._windows, self._length = steps, seed, windows, length
        fits = steps.end - steps.first >= length
        kinds = [np.flatnonzero(fits & (steps.events[:, event] > 0)) for event in range(len(PREDICTED_EVENTS))]
        self._kinds = [kind for kind in kinds if len(kind)]
        self._all = np.flatnonzero(fits)
        self.usable = len(self._all)

    def __call__(self, update: int) -> np.ndarray:
        """The first step of each window of an update, int64 [B]."""
        draws = Stream(self._seed, Purpose.WINDOWS, update).uniforms(3 * self._windows).reshape(3, self._windows)
        chosen = np.empty(self._windows, np.int64)
        for window, (kind, which, _) in enumerate(draws.T.tolist()):
            eventful = window % 2 == 1 and self._kinds
            pool = self._kinds[int(kind * len(self._kinds))] if eventful else self._all
            chosen[window] = pool[int(which * len(pool))]
        steps = self._steps
        first, last = steps.first[chosen], steps.end[chosen] - self._length
        starts: np.ndarray = np.minimum(np.maximum(chosen - (draws[2] * self._length).astype(np.int64), first), last)
        limits = np.stack([first, steps.end[chosen]])
        invariants.no_window_crosses_a_serve(starts, starts + self._length, limits, {"update": update})
        return starts


def prepared(recording: Recording, gate: bool) -> tuple[Constants, Steps]:
    """Constants of a training split, and its steps."""
    constants = constants_of(recording.layout, *pairs(recording))
    return constants, steps_of(recording, constants, gate)
