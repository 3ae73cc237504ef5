"""The state that a run begins with: weights from the seed, or given ones, and an optimizer that has seen nothing."""

import numpy as np

import policy
from bitexact.determinism.arrays import Arrays
from bitexact.storage.state import State
from pong.game import PIXELS, SEEN
from training.adam import Adam
from training.rmsprop import RMSProp
from training.settings import REINFORCE, Settings


def from_seed(settings: Settings) -> State:
    """Update 0: random weights from the seed, nothing accumulated."""
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
    """What a state of these settings is shaped like, all zeros: to hold against what a file says that it holds."""
    inputs, hidden_units = PIXELS if settings.preset == REINFORCE else SEEN, settings.hidden_units
    weights = {"W1": np.zeros((inputs, hidden_units), np.float32), "W2": np.zeros(hidden_units, np.float32)}
    if settings.preset != REINFORCE:
        weights["V"] = np.zeros(hidden_units, np.float32)
    return from_weights(settings, weights)
