"""How driver.py is started, and what its lines say: for all that start it and read along. Imports nothing big.

subprocess.Popen(start_or_resume(DRIVER, run, ["--batch-size=10"]), ...)
committed("update 7  reward -20.30  ...  digest b76d97066d19")             (7, "b76d97066d19")
sentence("driver.py: property failed: the weights are finite")            what it ended with
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
# Through the SDK's launcher: under Antithesis, coverage is on from the first line; elsewhere it changes nothing.
DRIVER = (sys.executable, "-m", "antithesis", str(_ROOT / "driver.py"))
_COMMIT = re.compile(r"update (\d+)  .*digest ([0-9a-f]+)\n?")
_ENDS_WITH = "driver.py: "


def is_begun(run: Path) -> bool:
    """Whether there is a run to go on with: its settings are the first thing that is written."""
    return (run / "config.json").exists()


def start_or_resume(driver: Sequence[str], run: Path, at_first: Sequence[str] = ()) -> list[str]:
    """The command that goes on with a run, or begins it with these flags more."""
    return [*driver, f"--run-dir={run}", *(["--resume"] if is_begun(run) else at_first)]


def committed(line: str) -> tuple[int, str] | None:
    """The update that a line of the driver's output says is committed, and its digest as far as it is shown."""
    found = _COMMIT.fullmatch(line)
    return (int(found[1]), found[2]) if found else None


def sentence(line: str) -> str:
    """What the driver says on standard error when it ends; empty for any other line."""
    return line.removeprefix(_ENDS_WITH).strip() if line.startswith(_ENDS_WITH) else ""
