"""Which pixels of a recording change, gathered frame by frame in constant memory."""

from __future__ import annotations

import cv2
import numpy as np

# Larger images are shrunk to this before they are compared: it takes away most of the noise.
LONG_SIDE = 160
_BLOCK = 8


class PixelMotion:
    """
    Running measures of how much the image changes.

    Images are compared in grey values (0 to 255) at a working size: the first image's, shrunk to
    160 px on the long side where it is larger. Later images of another size are brought to it.
    """

    def __init__(self) -> None:
        self.image_changes: list[float] = []
        self._count = 0
        self._last: np.ndarray | None = None
        self._mean: np.ndarray | None = None
        self._squares: np.ndarray | None = None

    def add(self, rgb: np.ndarray) -> None:
        """
        Take in the next frame, (H, W, 3) uint8.

        ``image_changes`` grows by one number: the largest change of the mean grey value in any
        block of 8 x 8 working pixels since the frame before (infinite for the first frame). A
        small thing that moves changes one block, noise changes none.
        """
        grey = self._to_working_size(rgb)
        if self._last is None or self._mean is None or self._squares is None:
            self._mean, self._squares = np.zeros_like(grey), np.zeros_like(grey)
            self.image_changes.append(float('inf'))
        else:
            self.image_changes.append(_largest_block(grey - self._last))
        self._last = grey
        self._count += 1
        # Welford's update: sums of squares would lose digits over a long recording.
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
    """Return the largest absolute mean over all blocks, mirrored at the border."""
    size = (min(_BLOCK, change.shape[1]), min(_BLOCK, change.shape[0]))
    means = cv2.blur(change, size, borderType=cv2.BORDER_REFLECT)
    return float(np.abs(means).max())
