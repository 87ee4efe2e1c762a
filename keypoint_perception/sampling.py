"""A few of many, spread evenly."""

from __future__ import annotations

import numpy as np


def spread_evenly(values: np.ndarray, count: int) -> np.ndarray:
    """
    Return ``count`` of some values in their order, the first and the last among them.

    :param values: (N, ...); all of them are returned where there are no more than ``count``
    """
    if count >= len(values):
        return values
    return values[np.linspace(0, len(values) - 1, count).round().astype(int)]
