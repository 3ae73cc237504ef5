#!/usr/bin/env python3
"""At the end, recompute a random sample of updates, within a bound of time.

Serves: A recorded update can be recomputed to the bit; The ledger holds each update and each of its rollouts once.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("replay_sample")
