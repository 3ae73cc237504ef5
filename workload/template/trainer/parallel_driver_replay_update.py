#!/usr/bin/env python3
"""Copy the run directory while the cluster trains on: resume the copy, and recompute an update of it, drawn.

Serves: A copy of the run directory taken at any instant can be resumed; A recorded update can be recomputed to the bit.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("replay_update")
