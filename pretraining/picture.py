"""A rendered frame, and where the points of its scene are in it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Points that are followed through all frames of a scene.
POINTS = 32


class Picture(NamedTuple):
    """
    A frame.

    :param image: RGB, (H, W, 3) float32 in [0, 1]
    :param points: of each of the scene's points x and y, as shares of width and height, and
        whether it is visible, (POINTS, 3) float32
    """

    image: np.ndarray
    points: np.ndarray
