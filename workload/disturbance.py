"""Killing and freezing actors from outside: by their processes, as a kernel or a hypervisor would.

Each decision is drawn from the SDK's randomness at the moment it is needed, so that the platform can steer it.
"""

import logging
import os
import signal
import time

import psutil
import ray
from antithesis.random import random_choice
from ray import exceptions as errors
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ACTOR_TITLE = "ray::PongEnv"
_TIMEOUT_S = 30.0
_FREEZE_S = (1, 5, 15, 40)


def actor_processes() -> list[int]:
    """The actors' processes on this machine, ascending."""
    titles = ((process.pid, " ".join(process.info["cmdline"] or [])) for process in psutil.process_iter(["cmdline"]))
    return sorted(process for process, title in titles if title.startswith(ACTOR_TITLE))


def disturb_an_actor() -> str:
    """Kill or freeze an actor on some node of the cluster that this container belongs to; says what was done."""
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    try:
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, errors.RayError) as error:
        return f"nothing was disturbed: the cluster does not answer ({type(error).__name__})"
    try:
        nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        if not nodes:
            return "nothing was disturbed: no node has actors"
        here = NodeAffinitySchedulingStrategy(random_choice(nodes), soft=False)
        freeze_s = random_choice([0, 0, *_FREEZE_S])
        task = _disturb.options(scheduling_strategy=here).remote(freeze_s)
        return ray.get(task, timeout=_TIMEOUT_S + freeze_s)
    except errors.RayError as error:
        return f"the cluster was lost on the way ({type(error).__name__})"
    finally:
        ray.shutdown()


@ray.remote(num_cpus=0, max_retries=0)
def _disturb(freeze_s: float) -> str:
    processes = actor_processes()
    if not processes:
        return "nothing was disturbed: no actor plays on the node"
    process = random_choice(processes)
    if not freeze_s:
        os.kill(process, signal.SIGKILL)
        return f"killed actor process {process}"
    os.kill(process, signal.SIGSTOP)
    time.sleep(freeze_s)  # this is the disturbance
    if process in actor_processes():
        os.kill(process, signal.SIGCONT)
    return f"froze actor process {process} for {freeze_s} s"
