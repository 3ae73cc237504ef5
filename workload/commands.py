"""How a command of the test template runs: as the run's user, on the run's directory, and ending with an exit code.

A test command is executed as the image's user, root. It becomes the user that the run directory belongs to, or the
nearest folder above that is there: else it would leave files behind that the trainer can't write. Only then is what it
does imported, because the SDK opens its output when it is first imported.
"""

import importlib
import os
import pwd
from pathlib import Path

from bitexact.cli import exits, process_environment
from bitexact.storage.run import PROPERTIES
from workload import scenario

RUN_VARIABLE = "RAY_PONG_RUN"  # names the run directory of before a scenario is drawn

_LEFT_OUT = "left out this time, as the scenario's weights would have it"


def run_command(name: str) -> None:
    """Run a function of `checks.py`, and leave the process: 0, unless it found a real bug."""
    run, wanted = _prepare(name)
    checks = importlib.import_module("workload.checks")
    exits.run(lambda _: print(getattr(checks, name)(run) if wanted else _LEFT_OUT))


def disturb(how: str, what: str) -> None:
    """Kill or freeze a process of this container, and leave this one: 0, whether there was one or not."""
    _, wanted = _prepare(f"{how}_{what}")
    disturbance = importlib.import_module("workload.disturbance")
    exits.run(lambda _: print(disturbance.disturb(how, what) if wanted else _LEFT_OUT))


def _prepare(command: str) -> tuple[Path, bool]:
    """The run that this timeline is about, and whether its scenario wants the command to act this time."""
    run, drawn = Path(os.environ.get(RUN_VARIABLE, "/runs/pong")), scenario.read()
    run = run.with_name(scenario.RUN) if drawn else run
    _become_owner(next(folder for folder in (run, *run.parents) if folder.exists()))
    process_environment.prepare_command(run / PROPERTIES)
    return run, drawn is None or drawn.wants(command)


def _become_owner(folder: Path) -> None:
    owner = folder.stat().st_uid
    if os.geteuid() != 0 or owner == 0:
        return
    user = pwd.getpwuid(owner)
    os.initgroups(user.pw_name, user.pw_gid)
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)
    os.environ["HOME"] = user.pw_dir
