"""The folder of a Ray that starts inside a program: short, and no other user's to look into.

Ray keeps its sockets there, and a socket's path has 107 bytes at most; its own folder, and those of its sessions, every
user of the machine can enter.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bitexact.cli.exits import BadInput, DiskRefused

# Ray adds /ray/session_2026-01-01_00-00-00_123456_1234567/sockets/plasma_store, and a little room is left.
_LONGEST = 107 - 75
_ELSEWHERE = ("/tmp", "/var/tmp", "/dev/shm")


def private_folder() -> Path:
    """The first folder of this user's alone that can be had. Raises BadInput, or DiskRefused, if there is none."""
    for base in _bases():
        name = f"ray-{os.getuid()}"
        folder = Path(base) if Path(base).name == name else Path(base) / name  # a parent may have named it
        if len(os.fsencode(folder)) <= _LONGEST and _is_made(folder):
            return folder
    refusal = DiskRefused if all(map(_is_read_only, _bases())) else BadInput
    raise refusal(
        f"Ray needs a folder that can be written, of at most {_LONGEST} bytes: none is in {', '.join(_bases())}; "
        "name one by RAY_TMPDIR."
    )


def _bases() -> Iterator[str]:
    yield from (os.environ[name] for name in ("RAY_TMPDIR", "TMPDIR") if os.environ.get(name))
    yield from _ELSEWHERE


def _is_read_only(base: str) -> bool:
    try:
        return bool(os.statvfs(base).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _is_made(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        with tempfile.TemporaryFile(dir=folder):
            return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    except OSError:
        return False
