"""How much the pixels of a recording change, computed in one pass and constant memory."""

from __future__ import annotations

import cv2
import numpy as np

# Long side of the working size; shrinking removes most of the noise.
LONG_SIDE = 160
_BLOCK = 8


class PixelMotion:
    """
    Running statistics of image change.

    Images are compared in grey values (0 to 255) at a working size: that of the first image,
    shrunk to at most 160 px on the long side. Later images are resized to it.
    """

    def __init__(self) -> None:
        self.image_changes: list[float] = []
        self._count = 0
        self._last: np.ndarray | None = None
        self._mean: np.ndarray | None = None
        self._squares: np.ndarray | None = None

    def add(self, rgb: np.ndarray) -> None:
        """
        Add the next frame, (H, W, 3) uint8.

        Appends to ``image_changes`` the largest change in the mean grey value of any block of
        8 x 8 working pixels since the previous frame (infinite for the first frame): a small
        moving object changes a block, noise does not.
        """
        grey = self._to_working_size(rgb)
        if self._last is None or self._mean is None or self._squares is None:
            self._mean, self._squares = np.zeros_like(grey), np.zeros_like(grey)
            self.image_changes.append(float('inf'))
        else:
            self.image_changes.append(_largest_block(grey - self._last))
        self._last = grey
        self._count += 1
        # Welford's update: sums of squares would lose precision over a long recording.
        away = grey - self._mean
        self._mean += away / self._count
        self._squares += away * (grey - self._mean)

    def deviation(self) -> np.ndarray:
        """Return the standard deviation over time of every working pixel, (h, w) float32."""
        if self._squares is None:
            msg = 'No frame has been added.'
            raise ValueError(msg)
        return np.sqrt(self._squares / self._count).astype(np.float32)

    def _to_working_size(self, rgb: np.ndarray) -> np.ndarray:
        grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        if self._mean is not None:
            height, width = self._mean.shape
        else:
            shrink = min(1.0, LONG_SIDE / max(grey.shape))
            height, width = (max(1, round(side * shrink)) for side in grey.shape)
        if grey.shape != (height, width):
            grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
        return grey.astype(np.float64)


def _largest_block(change: np.ndarray) -> float:
    """Return the largest absolute block mean; blocks are mirrored at the border."""
    size = (min(_BLOCK, change.shape[1]), min(_BLOCK, change.shape[0]))
    means = cv2.blur(change, size, borderType=cv2.BORDER_REFLECT)
    return float(np.abs(means).max())
