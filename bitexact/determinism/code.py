"""The source files that decide a result, each named by its module and the digest of its bytes.

    code = digests(["policy", *modules_of("bitexact.determinism")])
    difference(code, recorded)                # "training.adam" where that file's bytes are not as recorded

A module's file is the one that this process would import, or has imported: in a folder that holds other files of the
same names, those are found.
"""

import hashlib
import importlib.util
import pkgutil
from collections.abc import Iterable, Mapping
from pathlib import Path

MISSING = "missing"


def modules_of(package: str) -> list[str]:
    """The modules in a package, by their full names, in alphabetical order."""
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    return sorted(f"{package}.{module.name}" for module in pkgutil.iter_modules(folders or []))


def digests(modules: Iterable[str]) -> dict[str, str]:
    """The first 16 hexadecimal digits of the SHA-256 of each module's source file; "missing" where there is none."""
    return {module: _digest(module) for module in modules}


def difference(here: Mapping[str, str], expected: Mapping[str, str]) -> str:
    """The modules that differ, or that only one of the two has, in words; empty if none does."""
    return ", ".join(name for name in sorted(here.keys() | expected.keys()) if here.get(name) != expected.get(name))


def folder_of(module: str) -> str:
    """Where a module's file lies, for people to read."""
    path = _file(module)
    return str(path.parent) if path else "nowhere"


def _digest(module: str) -> str:
    path = _file(module)
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path else MISSING
    except OSError:
        return MISSING


def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # its package is missing; it was made without a file
        return None
    return Path(spec.origin) if spec and spec.origin else None
