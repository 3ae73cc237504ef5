"""Calls that may never return, made beside the program: it waits for them as long as it likes, and goes on.

    control = Beside("control")
    nodes = control.call(ray.nodes, limit_s=0.5)      # raises NoAnswer
    control.later(ray.kill, actor)                    # waits for nothing

With a frozen head `ray.nodes()` never returns, with a frozen raylet neither do `ray.kill`, `ray.put` and `ray.get`,
whatever timeout they are given. One thread makes the calls, in order: after one that hangs, all wait, and none is lost.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Any, TypeVar

from bitexact.cluster.interface import Lost

_Value = TypeVar("_Value")


class NoAnswer(Lost):
    """A call has not returned within its limit. It may yet."""


class Beside:
    """One thread that makes calls for another, one after the other."""

    def __init__(self, name: str) -> None:
        """The thread ends with the program, wherever it is."""
        self._began_at: float | None = None  # the call that is being made
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def later(self, function: Callable[..., _Value], *arguments: Any) -> "Future[_Value]":
        """Have a call made, after those that were asked for before."""
        future: Future[_Value] = Future()
        self._calls.put((future, function, arguments))
        return future

    def call(self, function: Callable[..., _Value], *arguments: Any, limit_s: float) -> _Value:
        """Have a call made, and wait for what it returns or raises. Raises NoAnswer after so many seconds."""
        return self.answer(self.later(function, *arguments), limit_s)

    def answer(self, future: "Future[_Value]", limit_s: float) -> _Value:
        """What a call returned or raised, within so many seconds from now. Raises NoAnswer."""
        try:
            return future.result(limit_s)
        except NotYet:
            if future.done():  # the call's own
                raise
            raise NoAnswer(f"Ray did not answer within {limit_s:g} s") from None

    def hangs_for_s(self) -> float:
        """How long the call that is being made has taken; 0 if there is none."""
        began_at = self._began_at
        return 0.0 if began_at is None else time.monotonic() - began_at

    def _run(self) -> None:
        while True:
            self._began_at = None
            future, function, arguments = self._calls.get()
            self._began_at = time.monotonic()
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)
            del future, function, arguments  # else the last ones would be kept: an actor's handle keeps the actor
