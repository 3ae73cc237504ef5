#!/usr/bin/env python3
"""Read the ledger twice: it has no gap and no repetition, and takes nothing back.

Serves: The ledger holds each update and each of its rollouts once.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("check_ledger")
