#!/usr/bin/env python3
"""Freeze this node's raylet for some seconds: calls to it do not return meanwhile.

Serves: Once faults stop, training advances.
"""

from workload.commands import disturb

if __name__ == "__main__":
    disturb("freeze", "raylet")
