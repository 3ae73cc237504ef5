"""What a process must be like to compute the same bits as another, and the handshake in which it says what it is."""

import contextlib
import os
import platform
import resource
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from bitexact.determinism import code, versions


@dataclass(frozen=True)
class ProcessInfo:
    """Who a process is, and what would make its bits differ from another's."""

    host: str
    process: int
    versions: dict[str, str]
    keeps_denormals: bool
    machine: str  # the processor's architecture
    code: Mapping[str, str] = field(default_factory=dict)  # digests of source files, by module
    folder: str = ""  # where the first of them lies

    def mismatch(self, expected: "ProcessInfo") -> str:
        """Why this process would compute other bits than one that is as expected; empty if it would not."""
        if not self.keeps_denormals:
            return "its processes flush denormal numbers to zero"
        if self.machine != expected.machine:
            return f"its processor is {self.machine}, not {expected.machine}"
        if different := code.difference(self.code, expected.code):
            return f"its code in {self.folder} is not this program's ({different})"
        return versions.differences(self.versions, expected.versions)


def describe(packages: Iterable[str] | None = None, modules: Iterable[str] = ()) -> ProcessInfo:
    """This process, with the versions of some packages, by default of those pinned, and the code of some modules.

    Raises PackageNotFoundError.
    """
    modules = list(modules)
    return ProcessInfo(
        host=socket.gethostname(),
        process=os.getpid(),
        versions=versions.installed(packages),
        keeps_denormals=keep_denormals(),
        machine=platform.machine(),
        code=code.digests(modules),
        folder=code.folder_of(modules[0]) if modules else "",
    )


def keep_denormals() -> bool:
    """Whether numbers below the smallest normal one stay, or are flushed to zero: some libraries switch that on."""
    smallest = np.array([np.finfo(np.float32).tiny, np.finfo(np.float32).tiny])
    smallest64 = np.array([np.finfo(np.float64).tiny, np.finfo(np.float64).tiny])
    return bool((smallest / np.float32(2.0) > 0.0).all() and (smallest64 / 2.0 > 0.0).all())


def is_tested_processor() -> bool:
    """Whether the promise of equal bits is tested on this kind of processor."""
    return platform.machine() in ("x86_64", "AMD64")


def memory_left() -> int:
    """Bytes of memory that this process can have at most: of the machine's, its control group's, its address space."""
    left: list[int] = [psutil.virtual_memory().available]
    with contextlib.suppress(OSError, ValueError):  # no such group, or "max"
        left.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))  # what is used of it may be files' pages
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY:
        left.append(limit - psutil.Process().memory_info().vms)
    return max(0, min(left))
