#!/usr/bin/env python3
"""Kill the process of an actor, or freeze it for a while: the platform does not do that by itself.

Serves: A batch completes although an actor died in it; A lost rollout is computed on another node;
A late duplicate of a rollout is dropped; A rollout computed twice gives the same bytes.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("disturb_actor")
