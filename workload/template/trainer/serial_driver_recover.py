#!/usr/bin/env python3
"""Alone, ask for a period without faults, and wait for training to advance in it.

Serves: Once faults stop, training advances.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("recovers_in_quiet")
