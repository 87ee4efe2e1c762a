"""
Stretches of clips, and the median of each.

The median of some seconds follows the light through a long clip, and what is put down in the
middle of it is in some medians and not in others.
"""

from __future__ import annotations

from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor

# A stretch lasts about so long, s; less in a short recording, so that there are some, and longer
# in one of hours. It has at least so many frames, of which so many are used.
WINDOW_S = 5.0
LEAST_WINDOWS, MOST_WINDOWS = 8, 512
LEAST_FRAMES, MEDIAN_FRAMES = 12, 25


class Windows:
    """
    Splits clips evenly into stretches.

    :ivar of_frame: stretch of each frame, (N,) int
    :ivar count: number of stretches
    """

    def __init__(self, images: np.ndarray, stamps_ns: np.ndarray, episodes: np.ndarray) -> None:
        """Use frames (N, H, W, 3) uint8 with stamps and episodes, (N,) each."""
        self._images = images
        order = np.lexsort((stamps_ns, episodes))
        starts = np.flatnonzero(np.r_[True, np.diff(episodes[order]) != 0])
        clips = np.split(order, starts[1:])
        lengths_s = [float(stamps_ns[clip[-1]] - stamps_ns[clip[0]]) / 1e9 for clip in clips]
        total_s = sum(lengths_s)
        window_s = max(min(WINDOW_S, total_s / LEAST_WINDOWS), total_s / MOST_WINDOWS, 1e-9)
        self._members: list[np.ndarray] = []
        for clip, length_s in zip(clips, lengths_s, strict=True):
            parts = min(int(length_s / window_s), len(clip) // LEAST_FRAMES)
            self._members += np.array_split(clip, max(1, parts))
        self.count = len(self._members)
        self.of_frame = np.empty(len(images), np.int64)
        for number, members in enumerate(self._members):
            self.of_frame[members] = number

    def frames(self, number: int, count: int = MEDIAN_FRAMES) -> Tensor:
        """Return up to ``count`` frames of a stretch in [-1, 1], (n, 3, H, W)."""
        return as_images(self._images[evenly_spaced(self._members[number], count)])

    def median(self, number: int) -> Tensor:
        """Return the median of a stretch in [-1, 1], (3, H, W)."""
        frames = self._images[evenly_spaced(self._members[number], MEDIAN_FRAMES)]
        flat = np.ascontiguousarray(frames.reshape(len(frames), -1).T)
        half = len(frames) // 2
        middle = np.partition(flat, half, axis=1)[:, half]
        return as_images(middle.reshape(1, *frames.shape[1:]))[0]


def as_images(frames: np.ndarray) -> Tensor:
    """Return frames (n, H, W, 3) uint8 in [-1, 1], (n, 3, H, W)."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
