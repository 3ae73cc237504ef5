"""The package versions a run was made with: those that requirements.txt pins."""

import importlib.metadata
from collections.abc import Iterable
from pathlib import Path

_REQUIREMENTS = Path(__file__).parents[2] / "requirements.txt"


def pinned() -> dict[str, str]:
    """The versions that requirements.txt asks for, by package name."""
    lines = (line.split("#")[0].strip() for line in _REQUIREMENTS.read_text().splitlines())
    pins = (line.split("==") for line in lines if line)
    return {name.split("[")[0].strip(): version.strip() for name, version in pins}


def installed(packages: Iterable[str] | None = None) -> dict[str, str]:
    """The versions of some packages, by default those pinned, that this process would import."""
    return {name: importlib.metadata.version(name) for name in packages or pinned()}


def differences(here: dict[str, str], run: dict[str, str]) -> str:
    """What differs, in words: "numpy 2.4.5 instead of 2.4.6"; empty when nothing does."""
    names = sorted(here.keys() | run.keys())
    return ", ".join(
        f"{name} {here.get(name, 'missing')} instead of {run.get(name, 'none')}"
        for name in names
        if here.get(name) != run.get(name)
    )
