"""Where the Antithesis SDK writes what it saw: one file a process, in the run directory.

The SDK reads ANTITHESIS_SDK_LOCAL_OUTPUT once, when it is first imported. So the driver calls `direct_to` as soon as it
knows its run directory and imports whatever asserts properties afterwards; its actors inherit PROPERTIES_FOLDER and
call `direct_to_inherited_folder` before they import theirs. A value set by the user, or the platform's library, wins.
"""

import os
import socket
from pathlib import Path

LOCAL_OUTPUT = "ANTITHESIS_SDK_LOCAL_OUTPUT"
PROPERTIES_FOLDER = "RAY_PONG_PROPERTIES_FOLDER"
_PLATFORM_LIBRARY = Path("/usr/lib/libvoidstar.so")


def direct_to(folder: Path, role: str) -> None:
    """Send this process's properties to FOLDER/ROLE-HOST-PID.jsonl, and tell its children the folder."""
    if _PLATFORM_LIBRARY.exists() or (LOCAL_OUTPUT in os.environ and PROPERTIES_FOLDER not in os.environ):
        return
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ[PROPERTIES_FOLDER] = str(folder)
    os.environ[LOCAL_OUTPUT] = str(folder / f"{role}-{socket.gethostname()}-{os.getpid()}.jsonl")


def direct_to_inherited_folder(role: str) -> None:
    """The same for a child process, if its parent directed it anywhere."""
    folder = os.environ.get(PROPERTIES_FOLDER)
    if folder:
        direct_to(Path(folder), role)
