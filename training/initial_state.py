"""The state that a run begins with: weights from the seed, or given ones, and an optimizer that has seen nothing."""

import numpy as np

import policy
from bitexact.cli.exits import BadInput
from bitexact.determinism import process
from bitexact.determinism.arrays import Arrays
from bitexact.storage.state import State
from pong.game import PIXELS, SEEN
from training.adam import Adam
from training.rmsprop import RMSProp
from training.settings import REINFORCE, Settings

_BYTES_A_WEIGHT = 32  # while they are drawn, and later with gradient and optimizer


def from_seed(settings: Settings) -> State:
    """Update 0: random weights from the seed, nothing accumulated. Raises BadInput if they do not fit into memory."""
    _expect_room(settings)
    if settings.preset == REINFORCE:
        return from_weights(settings, policy.initial_weights(settings.seed, PIXELS, settings.hidden_units))
    weights = policy.initial_weights(settings.seed, SEEN, settings.hidden_units)
    return from_weights(settings, weights | {"V": np.zeros(settings.hidden_units, np.float32)})


def from_weights(settings: Settings, weights: Arrays) -> State:
    """Update 0 with given weights, nothing accumulated."""
    if settings.preset == REINFORCE:
        return State(0, weights, RMSProp.initial(weights).arrays())
    return State(0, weights, Adam.initial(weights).arrays())


def outline(settings: Settings) -> State:
    """What a state of these settings is shaped like, all zeros: to hold against what a file says that it holds.

    Raises BadInput if it does not fit into memory.
    """
    _expect_room(settings)
    inputs, hidden_units = PIXELS if settings.preset == REINFORCE else SEEN, settings.hidden_units
    weights = {"W1": np.zeros((inputs, hidden_units), np.float32), "W2": np.zeros(hidden_units, np.float32)}
    if settings.preset != REINFORCE:
        weights["V"] = np.zeros(hidden_units, np.float32)
    return from_weights(settings, weights)


def _expect_room(settings: Settings) -> None:
    inputs = PIXELS if settings.preset == REINFORCE else SEEN
    needed, left = _BYTES_A_WEIGHT * inputs * settings.hidden_units, process.memory_left()
    if needed > left:
        raise BadInput(
            f"--hidden-units={settings.hidden_units} takes {needed / 2**30:.1f} GB of memory, "
            f"and there are {left / 2**30:.1f} GB left here: choose fewer, or a larger machine."
        )
