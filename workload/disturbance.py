"""Killing and freezing processes of this container: one signal, as a kernel or a hypervisor would do it. No Ray.

    disturb("kill", "raylet")          "killed raylet (process 41)"
    disturb("freeze", "actor")         "froze actor (process 97) for 5 s"

Each decision is drawn from the SDK's randomness at the moment it is needed, so that the platform can steer it.
"""

import contextlib
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import PurePath

import psutil
from antithesis.random import random_choice

import invariants

# What tells each process, by its command line. An actor's is its title, which Ray sets.
PROCESSES: dict[str, Callable[[Sequence[str]], bool]] = {
    "actor": lambda words: " ".join(words).startswith("ray::PongEnv"),
    "raylet": lambda words: PurePath(words[0]).name == "raylet",
    "gcs": lambda words: PurePath(words[0]).name == "gcs_server",
    "driver": lambda words: "python" in PurePath(words[0]).name and "driver.py" in map(_file_name, words),
}
_FREEZE_S = (1, 2, 5, 10, 20)


def processes(what: str) -> list[psutil.Process]:
    """The processes of a kind that run on this machine, by their number."""
    found = (process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"])
    return sorted((one for one in found if PROCESSES[what](one.info["cmdline"])), key=lambda process: process.pid)


def disturb(how: str, what: str) -> str:
    """Kill or freeze one process of a kind; says what was done. That there is none just now is no bug."""
    found = processes(what)
    if not found:
        return f"nothing was disturbed: there is no {what} here just now"
    process = random_choice(found)
    freeze_s = random_choice(list(_FREEZE_S)) if how == "freeze" else 0
    invariants.it_happens("disturbed", {"how": how, "what": what, "process": process.pid, "seconds": freeze_s})
    with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended by itself
        if how == "kill":
            process.kill()
            return f"killed {what} (process {process.pid})"
        _freeze(process, freeze_s)
        return f"froze {what} (process {process.pid}) for {freeze_s} s"
    return f"nothing was disturbed: {what} (process {process.pid}) has just ended"


def _freeze(process: psutil.Process, freeze_s: float) -> None:
    """Stop a process for a while. What thaws it is there before: this command may itself be killed meanwhile."""
    thaw = f"sleep {freeze_s}; kill -{signal.SIGCONT.value} {process.pid}"
    quiet = subprocess.DEVNULL
    thawing = subprocess.Popen(["sh", "-c", thaw], stdout=quiet, stderr=quiet, start_new_session=True)
    process.suspend()
    while thawing.poll() is None and process.is_running():
        time.sleep(0.1)


def _file_name(word: str) -> str:
    return PurePath(word).name
