"""What every command shares: arguments, exit codes, interrupts, progress, environment variables."""
