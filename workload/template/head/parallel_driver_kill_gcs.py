#!/usr/bin/env python3
"""Kill the cluster's control service: Ray ends the driver, and each node joins the new one.

Serves: A run resumes after update 0; An update computed again has its recorded digest.
"""

from workload.commands import disturb

if __name__ == "__main__":
    disturb("kill", "gcs")
