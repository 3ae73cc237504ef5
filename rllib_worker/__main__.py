"""python -m rllib_worker: see cli.py."""

from rllib_worker.cli import start

if __name__ == "__main__":
    start()
