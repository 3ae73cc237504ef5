#!/usr/bin/env python3
"""Freeze the driver for some seconds: nobody looks at answers, and nothing is late for that.

Serves: Once faults stop, training advances.
"""

from workload.commands import disturb

if __name__ == "__main__":
    disturb("freeze", "driver")
