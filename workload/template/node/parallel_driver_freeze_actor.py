#!/usr/bin/env python3
"""Freeze an actor of this node for some seconds: what it plays is raced, and may come twice.

Serves: A late duplicate of a rollout is dropped; A rollout computed twice gives the same bytes.
"""

from workload.commands import disturb

if __name__ == "__main__":
    disturb("freeze", "actor")
