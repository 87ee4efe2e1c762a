"""Evenly spaced samples."""

from __future__ import annotations

import numpy as np


def evenly_spaced(values: np.ndarray, count: int) -> np.ndarray:
    """
    Return up to ``count`` evenly spaced values in their order, including the first and the last.

    :param values: (N, ...); returned as they are if there are no more than ``count``
    """
    if count >= len(values):
        return values
    chosen: np.ndarray = values[np.linspace(0, len(values) - 1, count).round().astype(int)]
    return chosen
