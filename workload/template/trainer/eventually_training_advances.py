#!/usr/bin/env python3
"""Once nothing is disturbed any more, wait for two more updates.

Serves: Once faults stop, training advances.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("training_advances")
