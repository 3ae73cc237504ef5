#!/usr/bin/env python3
"""Draw this timeline's scenario, have it begun, and wait until its first update is committed.

Serves: Once faults stop, training advances.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("scenario_begins")
