#!/usr/bin/env python3
"""Read the ledger: it has no gap and no repetition, and lacks nothing that was ever seen in it.

Serves: The ledger holds each update and each of its rollouts once; No update that was seen in the ledger is ever lost
or changed.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("check_ledger")
