"""Equal bits on every machine: streams, digests, sums in a fixed order, and what a process must be like."""
