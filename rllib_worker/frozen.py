"""Env runners on this machine that are frozen: found by their processes' state and killed, for RLlib to replace.

A frozen process never answers, and RLlib waits for it until its own, long, time limit.
"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator

import psutil

_LOOK_EVERY_S = 2.0
_FROZEN_LOOKS = 5  # in a row: a debugger may stop a process for a moment


@contextlib.contextmanager
def frozen_are_killed(processes: Iterable[int]) -> Iterator[None]:
    """While the block runs, kill each of these processes that stays stopped."""
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(list(processes), done), daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


def _watch(processes: list[int], done: threading.Event) -> None:
    stopped = dict.fromkeys(processes, 0)
    while not done.wait(_LOOK_EVERY_S):
        for process in processes:
            stopped[process] = stopped[process] + 1 if _is_stopped(process) else 0
            if stopped[process] == _FROZEN_LOOKS:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def _is_stopped(process: int) -> bool:
    try:
        return bool(psutil.Process(process).status() == psutil.STATUS_STOPPED)
    except psutil.NoSuchProcess:
        return False
