"""Stands in for the platform's library in a container: writes down what coverage is reported, and by which process.

Python imports this file by itself when it starts. The SDK's own code decides whether coverage is on.
"""

import os
import sys
from pathlib import Path

try:
    import antithesis._internal as sdk
except ImportError:  # a Python without the project's packages
    sdk = None


class Library:
    """What the SDK calls of it."""

    def init_coverage_module(self, edges, name):
        return 0

    def notify_coverage(self, edge):
        with Path("/tmp/covered").open("a") as file:
            file.write(f"{edge} {os.getpid()}\n")
        return False  # once is enough


class Handler:
    """What the SDK makes of the library where it finds it."""

    _lib, handles_output = Library(), True

    def output(self, line):
        pass

    def random(self):
        return int.from_bytes(os.urandom(8), sys.byteorder)


if sdk:
    sdk._HANDLER = Handler()
