"""Train a model on a recording.

python -m world_model train --recording runs/table --out runs/table-rnn --model-type rnn
python -m world_model train --recording runs/table --out runs/table-rnn --resume
python -m world_model train --config train.json --seed 1                {"recording": "runs/table", "out": ..., ...}
python report.py runs/table-rnn                                         which properties it passed
"""

import os

# Before JAX is imported. One thread and no reordering: the same bits on any number of cores. XLA cuts large loops into
# as many parts as it believes to have cores, and on some processors a part has other bits than the whole.
os.environ["NPROC"] = "1"  # what XLA takes for their number
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Sequence
from functools import partial

from bitexact.cli import command_line
from world_model import config_file, properties
from world_model.model_path import local_database
from world_model.train_settings import TrainSettings


def main(arguments: Sequence[str]) -> None:
    """The command."""
    words = config_file.expanded(TrainSettings, _with_a_database(arguments))
    settings = command_line.parse(TrainSettings, words, "python -m world_model train")
    settings.check()
    with properties.noted_in(settings.out):
        from world_model.training_run import run  # only now: it imports the SDK

        run(settings, tell=partial(print, flush=True))


def _with_a_database(arguments: Sequence[str]) -> list[str]:
    """The arguments, with MLflow's local database where --mlflow names no other."""
    followed = zip(arguments, [*arguments[1:], "--"], strict=True)
    return [
        f"--mlflow={local_database()}" if word == "--mlflow" and following.startswith("--") else word
        for word, following in followed
    ]
