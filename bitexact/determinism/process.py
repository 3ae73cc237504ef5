"""Checks that this process computes floats as the promise of equal bits needs it."""

import platform

import numpy as np


def keep_denormals() -> bool:
    """Whether numbers below the smallest normal one stay, or are flushed to zero: some libraries switch that on."""
    smallest = np.array([np.finfo(np.float32).tiny, np.finfo(np.float32).tiny])
    smallest64 = np.array([np.finfo(np.float64).tiny, np.finfo(np.float64).tiny])
    return bool((smallest / np.float32(2.0) > 0.0).all() and (smallest64 / 2.0 > 0.0).all())


def is_tested_processor() -> bool:
    """Whether the promise of equal bits is tested on this kind of processor."""
    return platform.machine() in ("x86_64", "AMD64")
