"""Multi-agent policies trained with RLlib from one validated JSON file: seeds, self-play and resume are what they say.

    python -m rllib_worker --config run.json            train
    python -m rllib_worker --config run.json --dry-run  validate, print all that is derived, train nothing

What it promises, every field of the file and every command: docs/rllib-worker.md.
"""

from rllib_worker.metadata import WorkerCapabilities, get_worker_metadata

__all__ = ["WorkerCapabilities", "get_worker_metadata"]
