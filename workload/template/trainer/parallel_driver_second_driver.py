#!/usr/bin/env python3
"""Open the run as a second driver would: it must be refused while the first one lives.

Serves: A second driver of a run is refused while the first one lives.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("second_driver")
