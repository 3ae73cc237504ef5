"""A local stand-in for the Antithesis platform: the compose cluster, the test template, and faults, on this machine.

    make chaos                                             ten minutes
    python -m workload.local_antithesis --seed 7 --minutes 3
    python -m workload.local_antithesis --out /tmp/chaos   keep the runs and the report's page there

It runs the very files that the platform would run. Once setup is complete, the `first_` command; then driver and
`anytime_` commands in random, partly parallel order, while containers are killed, paused, throttled, cut off, and their
packets dropped or delayed, as the seed draws it; a command may ask for a quiet period. At last faults stop, and the
`eventually_` and `finally_` commands run. It ends with the report on all properties and with the line that repeats it.

What it is not: the platform explores many histories and can repeat one exactly. Here the seed repeats the faults and
the order of commands, not the instants at which they meet.

Exit codes: 0 done, 1 a command or property failed or a container ended by itself, 2 bad input;
others as every command's (bitexact/cli/exits.py, and --help).
"""

import contextlib
import itertools
import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from bitexact.cli import command_line, exits
from bitexact.cli.exits import BadInput, Differs
from bitexact.cli.interrupts import Interrupts
from bitexact.reporting import page, terminal, verdicts
from training.charts import CHARTS
from workload.containers import ComposeCluster, DockerFailed, docker, expect_engine
from workload.stand_in import LOOK_EVERY_S, SERVICE, TRAINER, Platform, say

RUNS = "/runs"  # that of the setup, and the scenario's
_SETUP_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Arguments:
    """Play the Antithesis platform on this machine: the compose cluster, its test template, and random faults."""

    seed: Annotated[int, tyro.conf.arg(metavar="S")] = 0
    """Draws the faults and the order of commands."""
    minutes: Annotated[float, tyro.conf.arg(metavar="M")] = 10.0
    """How long faults are injected."""
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("runs/chaos")
    """Where the run directories and the report's page are brought."""
    override: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = ()
    """Compose files over the project's own."""

    stop_at_failure: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Go to the report as soon as a command or a property has failed."""

    def check(self) -> None:
        """Raise BadInput for a value that cannot be used."""
        if not 0.0 < self.minutes < float("inf"):
            raise BadInput(f"--minutes must be a finite number above 0, not {self.minutes}.")
        for file in self.override:
            if not file.is_file():
                raise BadInput(f"--override: there is no file {file}.")


def main(arguments: Sequence[str]) -> None:
    """Play the platform once. Raises Differs if it found a bug."""
    chosen = command_line.parse(Arguments, arguments, "python -m workload.local_antithesis")
    chosen.check()
    expect_engine()
    interrupts = Interrupts()
    cluster = ComposeCluster(chosen.override)
    with _standing(cluster):
        platform = Platform(cluster, chosen.seed, chosen.stop_at_failure, interrupts.check)
        interrupts.defer()
        platform.play(chosen.minutes * 60.0)
        made = _bring_report(cluster, chosen.out)
    found = platform.failures + [one.declared.claim for one in made.verdicts if one.status == verdicts.FAILED]
    _conclude(platform, made, found, chosen)
    if found:
        raise Differs(f"{len(found)} failures, first: {found[0]}.")


@contextlib.contextmanager
def _standing(cluster: ComposeCluster) -> Iterator[None]:
    """The cluster, from nothing until setup is complete; removed at the end, whatever happens."""
    try:
        cluster.expect_nothing()
    except DockerFailed as error:
        raise BadInput(f"docker failed: {error}") from None
    say("the cluster is built and started")
    try:
        cluster.up()
        deadline = time.monotonic() + _SETUP_TIMEOUT_S
        while "setup complete" not in cluster.logs(SERVICE):
            if time.monotonic() > deadline:
                raise Differs(f"setup is not complete after {_SETUP_TIMEOUT_S:g} s: {cluster.logs(SERVICE)[-2000:]}")
            time.sleep(LOOK_EVERY_S)
        say("setup is complete")
        yield
    except DockerFailed as error:
        raise BadInput(f"docker failed: {error}") from None
    finally:
        with contextlib.suppress(DockerFailed):
            cluster.down()


def _bring_report(cluster: ComposeCluster, out: Path) -> verdicts.Report:
    """Copy the run directories here, with the properties that all containers saw, and make their report."""
    out.mkdir(parents=True, exist_ok=True)
    docker("cp", f"{TRAINER}:{RUNS}/.", str(out), timeout_s=300.0)
    runs = sorted(path.parent for path in out.glob("*/config.json"))
    for name, run in itertools.product(cluster.names(), runs):
        with contextlib.suppress(DockerFailed):  # a container without actors has none
            docker("cp", f"{name}:{RUNS}/{run.name}/properties/.", str(run / "properties"))
    made = verdicts.make(runs)
    page.write(made, out / "report.html", CHARTS.curve)
    return made


def _conclude(platform: Platform, made: verdicts.Report, found: list[str], chosen: Arguments) -> None:
    table = Table(title="Faults and commands")
    for heading in ("what", "how often"):
        table.add_column(heading)
    for kind, count in sorted(platform.faults.items()):
        table.add_row(f"fault: {kind}", str(count))
    for (name, code), count in sorted(platform.ended.items()):
        table.add_row(f"{name}, exit code {code}", str(count))
    Console().print(terminal.table(made), table)
    for failure in found:
        say(f"FAILED: {failure}")
    say(f"{sum(platform.faults.values())} faults; {made.summary()}; page: {chosen.out / 'report.html'}")
    again = ["python", "-m", "workload.local_antithesis", f"--seed={chosen.seed}", f"--minutes={chosen.minutes:g}"]
    say(f"to repeat: {shlex.join([*again, *(f'--override={file}' for file in chosen.override)])}")


if __name__ == "__main__":
    exits.run(main)
