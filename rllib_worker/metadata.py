"""What a platform asks of a worker before it starts one: the entry point `mosaic.workers: ray` names this function."""

from dataclasses import dataclass

from rllib_worker.algo_params import ALGORITHMS
from rllib_worker.catalog import FAMILIES


@dataclass(frozen=True)
class WorkerCapabilities:
    """What the worker can do."""

    name: str
    version: str
    algorithms: tuple[str, ...]
    families: tuple[str, ...]
    policy_configurations: tuple[str, ...]
    api_types: tuple[str, ...]
    action_spaces: tuple[str, ...]
    action_masks: bool
    resume: bool
    self_play: bool
    deterministic: tuple[str, ...]  # algorithms whose digests are a function of seed, config and number of runners
    command: tuple[str, ...]


def get_worker_metadata() -> WorkerCapabilities:
    """The worker's capabilities. Imports neither Ray nor torch."""
    return WorkerCapabilities(
        name="ray",
        version="1.0.0",
        algorithms=ALGORITHMS,
        families=FAMILIES,
        policy_configurations=("parameter_sharing", "independent", "self_play", "shared_value_function"),
        api_types=("aec", "parallel"),
        action_spaces=("discrete", "continuous"),
        action_masks=True,
        resume=True,
        self_play=True,
        deterministic=("PPO", "A2C", "DQN"),
        command=("python", "-m", "rllib_worker"),
    )
