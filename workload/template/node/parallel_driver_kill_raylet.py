#!/usr/bin/env python3
"""Kill this node's raylet: the node and its actors are lost, and it joins anew.

Serves: A lost rollout is computed on another node.
"""

from workload.commands import disturb

if __name__ == "__main__":
    disturb("kill", "raylet")
