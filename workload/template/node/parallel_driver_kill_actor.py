#!/usr/bin/env python3
"""Kill an actor of this node.

Serves: A batch completes although an actor died in it; A lost rollout is computed on another node.
"""

from workload.commands import disturb

if __name__ == "__main__":
    disturb("kill", "actor")
