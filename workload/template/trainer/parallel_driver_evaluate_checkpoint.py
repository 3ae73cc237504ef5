#!/usr/bin/env python3
"""Play a game with the newest checkpoint, and hold the rewards to the game's own score.

Serves: In an evaluation, a score once counted never decreases; In an evaluation, the rewards add up to the game's own
score.
"""

from workload.commands import run_command

if __name__ == "__main__":
    run_command("evaluate_checkpoint")
