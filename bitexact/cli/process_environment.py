"""The environment variables that must stand before Ray and the Antithesis SDK are imported: both read theirs only then.

The driver calls `prepare_driver` as soon as it knows its run directory, and imports both afterwards. In every other
process `invariants.py` calls `direct_properties` before it imports the SDK. The SDK then writes what it saw to one
file a process in the run directory. A file named by the user, or the platform's library, wins.
"""

import contextlib
import importlib
import os
import resource
import secrets
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

from bitexact.cli.exits import BadInput
from bitexact.cli.properties_file import PropertiesFile
from bitexact.cli.ray_folder import private_folder

LOCAL_OUTPUT = "ANTITHESIS_SDK_LOCAL_OUTPUT"
PROPERTIES_FOLDER = "RAY_PONG_PROPERTIES_FOLDER"
_PLATFORM_LIBRARY = Path("/usr/lib/libvoidstar.so")
_SDK = "antithesis._internal"  # the part of the SDK that holds its output

# One game fills one core, and BLAS computes nothing here.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
# The first makes all of Ray's servers listen on 127.0.0.1: whatever its name says, it is Ray's one switch between "may
# become a cluster" and "this machine only".
_EMBEDDED_RAY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
# Ray's processes end at their start where docstrings are stripped or a warning is an error.
_BREAK_RAY = ("PYTHONOPTIMIZE", "PYTHONWARNINGS")
_ADDRESS_SPACE_BYTES = 3 << 30  # of each of Ray's processes: with 2.5 GB some abort and others wait for ever
_TOKENS = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}


def prepare_driver(properties: Path, embedded: bool) -> None:
    """Name the folder for properties, and have Ray stay on loopback where it starts inside this program."""
    os.environ[PROPERTIES_FOLDER] = str(properties.absolute())
    prepare_ray(embedded)
    direct_properties()


def prepare_ray(embedded: bool) -> None:
    """The part of it that Ray reads, for a program that imports Ray before it knows its run directory.

    Raises BadInput for what Ray cannot start with.
    """
    os.environ.update(_ONE_THREAD)
    for name in _BREAK_RAY:
        os.environ.pop(name, None)
    warnings.filters[:] = [one for one in warnings.filters if one[0] != "error"]  # type: ignore[index]
    _expect_readable_names()
    if embedded:
        _expect_address_space()
        os.environ.update(_EMBEDDED_RAY)
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        if not _TOKENS & os.environ.keys():  # else Ray writes one into the home, which may not be there
            os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        os.environ["RAY_TMPDIR"] = str(private_folder())


def _expect_readable_names() -> None:
    for word in sys.argv:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise BadInput(f"{word} is no UTF-8, and Ray takes no other command line: rename it.") from None


def _expect_address_space() -> None:
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _ADDRESS_SPACE_BYTES:
        raise BadInput(
            f"Ray needs {_ADDRESS_SPACE_BYTES / 2**30:g} GiB of address space, and this process may have "
            f"{limit / 2**30:.1f}: raise its limit (ulimit -v)."
        )


def prepare_command(properties: Path) -> None:
    """The same for a process beside the driver, which joins a cluster that is there."""
    os.environ[PROPERTIES_FOLDER] = str(properties.absolute())
    direct_properties()


def for_remote_actors() -> dict[str, str]:
    """What an actor on another node must find in its environment."""
    names = (PROPERTIES_FOLDER, LOCAL_OUTPUT, *_ONE_THREAD)
    return {name: os.environ[name] for name in names if name in os.environ}


def direct_properties() -> None:
    """Send this process's properties to FOLDER/HOST-PROCESS.jsonl, if a folder is named and can be written.

    That holds for an SDK that is imported already, as its launcher does it, and has no output yet.
    """
    folder = os.environ.get(PROPERTIES_FOLDER)
    sdk: Any = sys.modules.get(_SDK)
    if not folder or LOCAL_OUTPUT in os.environ or _PLATFORM_LIBRARY.exists() or (sdk and sdk._HANDLER.handles_output):
        return
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        file = PropertiesFile(Path(folder) / f"{socket.gethostname()}-{os.getpid()}.jsonl")
    except OSError:  # a node may not have the driver's folders: its properties are then unseen
        return
    sdk = importlib.import_module(_SDK)
    with contextlib.redirect_stdout(None):  # it announces its file on standard output
        sdk._HANDLER = sdk.LocalHandler(os.devnull, file)
    sdk._HANDLER.output(sdk._version_message())
