#!/usr/bin/env python3
"""Recompute a recorded update, drawn, on this process alone, while the cluster trains on.

Serves: A recorded update can be recomputed to the bit.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("replay_update")
