"""A rollout against the emulator alone: same actions, same core, in turns, so that a noisy machine slows both.

    python -m benchmarks.run --only rollout

"The emulator alone" is 4 calls of `act` a step, with the actions that the rollout held, and nothing else.
"""

import time
from contextlib import ExitStack
from typing import Any, cast

from ale_py import ALEInterface

import policy
from benchmarks.figures import Figure, Result, median_of
from benchmarks.stopwatch import Stopwatch
from bitexact.determinism.arrays import Arrays
from pong.game import FRAMES_PER_STEP, Pong
from pong.play import RolloutId
from training import initial_state, rollout_record, rollout_task
from training.rollout_task import RolloutTask, task_of
from training.settings import PPO, REINFORCE, of_preset


class TapedPong(Pong):
    """Pong that keeps which actions its emulator was given."""

    def __init__(self) -> None:
        super().__init__()
        self.emulator = self._emulator
        self.tape: list[Any] = []

    def record(self, task: RolloutTask, weights: Arrays, rollout_id: RolloutId) -> None:
        """Play a rollout, and keep its frames' actions."""
        self.tape = []
        self._emulator = cast(ALEInterface, _Taping(self.emulator, self.tape))
        task.run(self, weights, rollout_id)
        self._emulator = self.emulator

    def play_tape(self) -> float:
        """The same game by the emulator alone. Returns the seconds it takes."""
        act = self.emulator.act
        self.emulator.restoreSystemState(self._first_state)
        began = time.perf_counter()
        for action in self.tape:
            act(action)
        return time.perf_counter() - began


class _Taping:
    def __init__(self, emulator: Any, tape: list[Any]) -> None:
        self._emulator, self._tape = emulator, tape

    def act(self, action: Any) -> int:
        self._tape.append(action)
        reward: int = self._emulator.act(action)
        return reward

    def __getattr__(self, name: str) -> Any:
        return getattr(self._emulator, name)


def measure(smallest: bool) -> Result:
    """Pairs of rollout and emulator, both presets; then where the default's time goes."""
    rounds, few = (2, {"hidden_units": 8}) if smallest else (15, {})
    game, ratios, figures = TapedPong(), {}, []
    for preset in (PPO, REINFORCE):
        settings = of_preset(preset, **few)
        task, weights = task_of(settings), initial_state.from_seed(settings).weights
        names = [RolloutId(settings.seed, 1, index) for index in range(rounds)]
        ratios[preset] = [_pair(game, task, weights, name) for name in names]
        figures.append(median_of(f"a rollout's pace over the emulator's, {preset}", ratios[preset], at_least=0.95))
        if preset == PPO:
            parts = _parts(game, task, weights, names)
    figures += [Figure(f"of a step: {part}", microseconds, "us") for part, microseconds in parts.items()]
    return Result(figures, {"ratios": ratios, "parts_us": parts})


def _pair(game: TapedPong, task: RolloutTask, weights: Arrays, rollout_id: RolloutId) -> float:
    game.record(task, weights, rollout_id)
    before_s = game.play_tape()
    began = time.perf_counter()
    task.run(game, weights, rollout_id)
    rollout_s = time.perf_counter() - began
    return (before_s + game.play_tape()) / 2.0 / rollout_s


def _parts(game: TapedPong, task: RolloutTask, weights: Arrays, names: list[RolloutId]) -> dict[str, float]:
    """Microseconds a step of each part. Emulator, screen and policy are timed step by step, the rest game by game."""
    watch, steps = Stopwatch(), 0
    game._emulator = cast(ALEInterface, _Timed(game.emulator, watch))
    step_by_step = ((game, "_look"), (game, "observe"), (policy.Forward, "__call__"))
    game_by_game = (
        (rollout_task, "play"),
        (rollout_task, "estimate_advantages"),
        (rollout_task, "record_rollout"),
        (rollout_record, "_check"),
    )
    with ExitStack() as timed:
        for owner, method in (*step_by_step, *game_by_game):
            timed.enter_context(watch.on(owner, method))
        began = time.perf_counter()
        for name in names:
            record = task.run(game, weights, name)[1]
            steps += record.steps
        whole_s = time.perf_counter() - began
    game._emulator = game.emulator
    s = watch.seconds
    each_step_s = sum(s[name] for name in ("act", "_look", "observe", "__call__")) + watch.added_s
    parts = {
        f"the emulator, {FRAMES_PER_STEP} frames": s["act"],
        "read the screen": s["getScreen"],
        "find what changed in it": s["_look"] - s["getScreen"],
        "find what is lit": s["observe"],
        "forward": s["__call__"],
        "sticky actions, the policy's draw, keeping the step": s["play"] - each_step_s,
        "advantages": s["estimate_advantages"],
        "properties": s["_check"],
        "record and fingerprints": s["record_rollout"] - s["_check"],
        "packing and the rest": whole_s - s["play"] - s["estimate_advantages"] - s["record_rollout"],
    }
    return {part: seconds / steps * 1e6 for part, seconds in parts.items()}


class _Timed:
    def __init__(self, emulator: Any, watch: Stopwatch) -> None:
        self._emulator = emulator
        self.game_over, self.restoreSystemState = emulator.game_over, emulator.restoreSystemState
        self.act, self.getScreen = (watch.timed(name, getattr(emulator, name)) for name in ("act", "getScreen"))
