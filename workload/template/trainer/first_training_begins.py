#!/usr/bin/env python3
"""Wait until the first update is committed: whatever the other commands look at is there then.

Serves: Once faults stop, training advances.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("training_begins")
