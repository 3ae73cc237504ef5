#!/usr/bin/env python3
"""Kill the driver: it resumes from its last checkpoint.

Serves: A run resumes after update 0; An update computed again has its recorded digest.
"""

from workload.commands import disturb

if __name__ == "__main__":
    disturb("kill", "driver")
