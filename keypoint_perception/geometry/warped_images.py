"""Images as a camera elsewhere would show them."""

from __future__ import annotations

import cv2
import numpy as np

# Channels that OpenCV warps at once.
CHANNELS = 4


def warp_image(
    image: np.ndarray, homography: np.ndarray, hw: tuple[int, ...], *, repeat: bool = False
) -> np.ndarray:
    """
    Return a warped image, (h, w) or (h, w, c) of the type of the image, interpolated cubically.

    :param homography: from pixels of the result to pixels of the image
    :param repeat: repeat the border of the image outside, which is otherwise zero
    """
    layers = image[..., None] if image.ndim == 2 else image
    made = [
        cv2.warpPerspective(
            np.ascontiguousarray(layers[..., first : first + CHANNELS]),
            homography,
            hw[::-1],
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE if repeat else cv2.BORDER_CONSTANT,
        ).reshape(*hw, -1)
        for first in range(0, layers.shape[-1], CHANNELS)
    ]
    return np.asarray(np.concatenate(made, axis=-1).reshape(*hw, *image.shape[2:]))


def shown_pixels(
    image_hw: tuple[int, ...], homography: np.ndarray, hw: tuple[int, ...]
) -> np.ndarray:
    """Return which pixels of a warped image show the image, (h, w) bool."""
    return np.asarray(warp_image(np.full(image_hw, 255, np.uint8), homography, hw) > 254)
