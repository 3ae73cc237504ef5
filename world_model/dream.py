"""The game that a model dreams: the same interface, the same bits on every processor.

    dream = Dream(load(Path("pretrained/table-rnn")), games=1)
    states = dream.reset(seed=0)
    states, events = dream.step(left, right)

Predicted are events, with probabilities, and changes of the variables. The rest are the rules: a score follows from
its points, a serve from the wait after a point, and is drawn from those recorded. At temperature 0 an event happens
where it is more probable than not; above, it is drawn, from probabilities the flatter the higher the temperature.
A game is a function of (model, seed, its index, temperature, actions).
"""

import numpy as np

from bitexact.determinism.exact_math import sigmoids
from bitexact.determinism.streams import Stream
from world_model.features import features
from world_model.model import TURNS, Model
from world_model.states import (
    BALL_X,
    BALL_Y,
    CLOCK,
    EVENTS,
    HIT_LEFT,
    HIT_RIGHT,
    LEFT,
    LEFT_SCORE,
    POINT_LEFT,
    POINT_RIGHT,
    PREDICTED_EVENTS,
    RIGHT,
    RIGHT_SCORE,
    SERVE,
    SPEED_X,
    SPEED_Y,
    WAIT,
    Purpose,
    is_over,
)

_BALL = slice(BALL_X, SPEED_Y + 1)
_MARGIN = 0.02  # of the field: a ball so far outside of all that was recorded has won a point


class Dream:
    """N games of one model."""

    def __init__(self, model: Model, games: int = 1, temperature: float = 0.0) -> None:
        self.model, self.layout, self.temperature = model, model.layout, temperature
        self._network, self._games = model.network, games
        self._seed = self._first = 0

    def reset(self, seed: int, first: int = 0) -> np.ndarray:
        """Start N games from (seed, first) on: their states, drawn from the recorded first ones."""
        self._seed, self._first = seed, first
        streams = [Stream(seed, Purpose.DREAM, 0, first + game) for game in range(self._games)]
        drawn = np.array([stream.uniforms(1)[0] for stream in streams])
        self.place(self.model.starts[(drawn * len(self.model.starts)).astype(np.int64)])
        return self._states.copy()

    def place(self, states: np.ndarray) -> None:
        """Go on from these states, float64 [N, V], with an empty memory."""
        self._states = states.copy()
        self._memory = self._network.initial(len(states))
        self._previous = np.zeros((len(states), 2))
        streams = [Stream(self._seed, Purpose.DREAM_EVENTS, index=self._first + game) for game in range(len(states))]
        self._chance = [iter(stream) for stream in streams]

    def correct(self, states: np.ndarray) -> None:
        """Go on from these states, float64 [N, V], as if the last step had led to them: the memory stays."""
        self._states = states.copy()

    def step(self, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step of every game that is not over."""
        before, actions = self._states, np.stack([left, right], axis=1).astype(np.float64)
        seen = features(self.layout, self.model.constants, before, actions, self._previous)
        self._memory, out = self._network(self._memory, seen)
        playing = ~is_over(before, self.layout)
        moving = playing & (before[:, WAIT] == 0)
        after = before.copy()
        events = self._events(out[:, : len(PREDICTED_EVENTS)], moving)
        self._move(after, out[:, len(PREDICTED_EVENTS) :], events, moving)
        self._count_points(after, events, moving)
        self._wait(before, after, events, playing)
        self._previous = actions
        self._states = np.where(playing[:, None], after, before)
        return self._states.copy(), events

    def _events(self, logits: np.ndarray, moving: np.ndarray) -> np.ndarray:
        """Which events happen, bool [N, 6]; of both hits, and of both points, only the more probable one."""
        happens = logits > 0.0
        if self.temperature > 0.0:
            chance = np.array([[next(one) for _ in PREDICTED_EVENTS] for one in self._chance])
            happens = chance < sigmoids(logits / self.temperature)
        for one, other in ((HIT_LEFT, HIT_RIGHT), (POINT_LEFT, POINT_RIGHT)):
            first = logits[:, one] >= logits[:, other]
            happens[:, one], happens[:, other] = (
                happens[:, one] & (first | ~happens[:, other]),
                happens[:, other] & ~(first & happens[:, one]),
            )
        events = np.zeros((len(logits), len(EVENTS)), np.bool_)
        events[:, : len(PREDICTED_EVENTS)] = happens & moving[:, None]
        return events

    def _move(self, after: np.ndarray, out: np.ndarray, events: np.ndarray, moving: np.ndarray) -> None:
        """Change the variables as predicted, [N, P]: all of them, and once more at each turn that happens."""
        count, constants = len(self.layout.variables), self.model.constants
        change = changes(out, events[:, :TURNS].astype(np.float64), after[:, :count], self.model)
        change[~moving, _BALL] = 0.0
        moved = after[:, :count] + (np.rint(change) if self.layout.whole else change)
        paddles = [LEFT, RIGHT]
        moved[:, paddles] = np.minimum(np.maximum(moved[:, paddles], constants.low[paddles]), constants.high[paddles])
        after[:, :count] = moved

    def _count_points(self, after: np.ndarray, events: np.ndarray, moving: np.ndarray) -> None:
        low, high = self.model.constants.low[BALL_X], self.model.constants.high[BALL_X]
        margin = _MARGIN * (high - low)
        outside = moving & ~events[:, [POINT_LEFT, POINT_RIGHT]].any(axis=1)
        events[:, POINT_LEFT] |= outside & (after[:, BALL_X] > high + margin)
        events[:, POINT_RIGHT] |= outside & (after[:, BALL_X] < low - margin)
        after[:, LEFT_SCORE] += events[:, POINT_LEFT]
        after[:, RIGHT_SCORE] += events[:, POINT_RIGHT]

    def _wait(self, before: np.ndarray, after: np.ndarray, events: np.ndarray, playing: np.ndarray) -> None:
        """Count down to the serve, and serve."""
        waits = playing & (before[:, WAIT] > 0)
        after[waits, WAIT] -= 1
        after[events[:, [POINT_LEFT, POINT_RIGHT]].any(axis=1), WAIT] = self.layout.serve_wait
        if self.layout.hides_ball:
            after[waits, BALL_Y] = 0.0
        after[:, CLOCK] = (after[:, CLOCK] + 1) % self.layout.clock
        events[:, SERVE] = playing & (before[:, WAIT] == 1)
        for game in events[:, SERVE].nonzero()[0].tolist():
            after[game, : self.layout.served] = self._drawn_serve(after[game], game)
            self._memory[game] = self._network.initial(1)[0]

    def _drawn_serve(self, state: np.ndarray, game: int) -> np.ndarray:
        """The first variables as they once were at a serve after a point of the side that has just scored."""
        points = int(state[LEFT_SCORE] + state[RIGHT_SCORE])
        drawn = Stream(self._seed, Purpose.DREAM, 1 + points, self._first + game).uniforms(1)[0]
        pool = self.model.serves[0 if state[BALL_X] > self.model.constants.mean[BALL_X] else 1]
        served: np.ndarray = pool[int(drawn * len(pool)), : self.layout.served]
        return served


def changes(out: np.ndarray, turns: np.ndarray, variables: np.ndarray, model: Model) -> np.ndarray:
    """The change of each variable, [N, P], from a network's outputs, the turns that happen [N, 3], the variables."""
    count = len(model.layout.variables)
    change = out[:, :count].copy()
    if model.structure == "gate" and model.layout.straight:
        change[:, _BALL] = 0.0
    if model.structure == "gate":
        for turn in range(TURNS):
            change += turns[:, turn, None] * out[:, (turn + 1) * count : (turn + 2) * count]
    change *= model.constants.scale
    if model.structure == "gate":
        change[:, BALL_X] += variables[:, SPEED_X]
        change[:, BALL_Y] += variables[:, SPEED_Y]
    return change
