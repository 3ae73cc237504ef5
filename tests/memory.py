"""The peak of this process's memory, and the same from now on.

Not `getrusage`: its `ru_maxrss` outlives `exec`, so that a child's begins at what its parent had when it was started.
"""

import re
from pathlib import Path


def peak() -> int:
    """The most memory that this process had since it began, or since `forget_peak`, in bytes."""
    (kilobytes,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kilobytes) * 1024


def forget_peak() -> int:
    """Begin anew at what it has now, which is returned, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()
