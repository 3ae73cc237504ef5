"""What a dream draws from: recorded serves and first states."""

import numpy as np

from world_model.model import KEPT
from world_model.recording import Recording
from world_model.states import POINT_LEFT, POINT_RIGHT, SERVE


def pools(training: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Serves after a point of the left and of the right, [2, KEPT, P], and first states, [KEPT, V], spread evenly."""
    count = len(training.layout.variables)
    after: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for episode in training.episodes:
        side = None
        for events, state in zip(episode.events, episode.states[1:], strict=True):
            side = 0 if events[POINT_LEFT] else 1 if events[POINT_RIGHT] else side
            if events[SERVE]:
                after[side or 0].append(state[:count])
    firsts = [episode.states[0] for episode in training.episodes]
    both = [pool or firsts for pool in after]
    serves = np.stack([np.stack([pool[i * len(pool) // KEPT][:count] for i in range(KEPT)]) for pool in both])
    return serves, np.stack([firsts[i * len(firsts) // KEPT] for i in range(KEPT)])
