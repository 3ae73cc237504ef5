"""Train a model on a recording.

python -m world_model train --recording runs/table --out runs/table-rnn --model-type rnn
python -m world_model train --recording runs/table --out runs/table-rnn --resume
"""

import os

# Before JAX is imported. One thread and no reordering: the same bits on any number of cores.
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Sequence
from functools import partial

from bitexact.cli import command_line
from world_model.train_settings import TrainSettings
from world_model.training_run import run


def main(arguments: Sequence[str]) -> None:
    """The command."""
    settings = command_line.parse(TrainSettings, arguments, "python -m world_model train")
    run(settings, tell=partial(print, flush=True))
