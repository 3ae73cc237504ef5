"""What lasts: durable writes, the ledger, checkpoints, the run directory and its config."""
