"""
What a camera sees where nothing is in front of it: the median of a clip's frames.

A pixel's median over a clip is the background wherever things are in front of it for less than
half of the time. Where a robot rests for longer than that, its picture is in the median too, and
the place counts as foreground when it has left: objectives may use this as a hint, not as truth.
"""

from __future__ import annotations

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.pairs import find_clips
import numpy as np
import torch
from torch import Tensor

# Frames of a clip that its median is taken of, spread evenly.
FRAMES = 40


class Backgrounds:
    """Supplies ``background``: that of each pair's clip, (B, 3, H, W) in [-1, 1]."""

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """Take a recording; a clip's median is computed when it is first asked for."""
        self._images = store.images
        self._clips = find_clips(store.stamps_ns, store.source, store.camera)
        self._medians: dict[int, np.ndarray] = {}

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the backgrounds of pairs, (2, B) frame indices."""
        medians = [self._median(int(clip)) for clip in self._clips[frames[0]]]
        images = torch.from_numpy(np.stack(medians)).permute(0, 3, 1, 2)
        return {'background': images.to(torch.float32) / 127.5 - 1}

    def _median(self, clip: int) -> np.ndarray:
        if clip not in self._medians:
            mine = np.flatnonzero(self._clips == clip)
            chosen = mine[np.linspace(0, len(mine) - 1, min(len(mine), FRAMES)).astype(int)]
            self._medians[clip] = np.median(self._images[chosen], axis=0).astype(np.uint8)
        return self._medians[clip]
