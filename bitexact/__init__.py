"""What makes any run trustworthy: equal bits, durable files, work that survives faults, properties that say so.

The kit knows no game. Its rooms, from the bottom up: cli, determinism, storage, then cluster and reporting.
"""
