"""Fetch a value from Ray's object store, and let go of it while another thread's call hangs in a frozen raylet.

python held_value.py ADDRESS RAYLET       run by test_frozen_head.py; ends with 0, or stands still
"""

import os
import signal
import sys

import numpy as np
import ray
from commands import until

from bitexact.cluster.beside import Beside
from bitexact.cluster.ray_errors import fetch


def main(address: str, raylet: int) -> None:
    ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    value = fetch(ray.remote(num_cpus=1)(np.ones).remote(1_000_000))
    os.kill(raylet, signal.SIGSTOP)
    objects = Beside("Ray's objects")
    objects.later(ray.put, np.zeros(1_000_000))
    until(lambda: objects.hangs_for_s() > 1.0, "a call that hangs")
    del value
    os._exit(0)  # Ray would wait for the raylet


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
