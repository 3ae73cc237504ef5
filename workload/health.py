"""A container's health: written by its supervisor every second or so, read by Docker's health check.

    python -m workload.health                        one line; exit code 0 healthy, 1 not

A supervisor that has stopped looking, frozen or dead, leaves an old line behind: that is unhealthy, too. The check
imports nothing big, as it runs every few seconds in each container.
"""

import contextlib
import sys
import tempfile
import time
from pathlib import Path

PATH = Path(tempfile.gettempdir()) / "ray-pong-health"
_HEALTHY = "healthy: "
_OLD_S = 20.0  # a supervisor may be busy stopping processes for half as long


def write(healthy: bool, text: str) -> None:
    """Say how it is; a disk that refuses the line lets the last one grow old."""
    temporary = PATH.with_suffix(".new")
    with contextlib.suppress(OSError):
        temporary.write_text((_HEALTHY if healthy else "not healthy: ") + text)
        temporary.replace(PATH)


def read() -> tuple[bool, str]:
    """What the supervisor said last, unless that was too long ago."""
    try:
        text = PATH.read_text()
        age_s = time.time() - PATH.stat().st_mtime
    except OSError:
        return False, "not healthy: the supervisor has said nothing yet"
    if age_s > _OLD_S:
        return False, f"not healthy: the supervisor has said nothing for {age_s:.0f} s; its last word was: {text}"
    return text.startswith(_HEALTHY), text


if __name__ == "__main__":
    is_healthy, line = read()
    print(line)
    sys.exit(0 if is_healthy else 1)
