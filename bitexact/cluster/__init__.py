"""Pure work on machines that fail: the pool, what it asks of a cluster, and Ray's side of it."""
