"""
What a camera sees where nothing is in front of it: the median of a clip's frames.

A pixel's median over a clip is the background wherever things are in front of it for less than
half of the time. Where a robot rests for longer than that, its picture is in the median too, and
the place counts as foreground when it has left: objectives may use this as a hint, not as truth.
"""

from __future__ import annotations

import logging

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.pairs import find_clips
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Frames of a clip that its median is taken of, spread evenly.
FRAMES = 40
# The camera moves, or the light does, if in this share of the cells of CELL x CELL pixels a frame
# differs from the background by more than DIFFERS grey levels; of that many frames looked at.
MOVING_SHARE = 0.5
CELL, DIFFERS, LOOKS = 8, 12, 16


class Backgrounds:
    """Supplies ``background``: that of each pair's clip, (B, 3, H, W) in [-1, 1]."""

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """Take a recording; a clip's median is computed when it is first asked for."""
        self._images = store.images
        self._clips = find_clips(store.stamps_ns, store.source, store.camera)
        self._medians: dict[int, np.ndarray] = {}
        share = self._share_in_motion()
        if share > MOVING_SHARE:
            log.warning(
                'The camera seems to move: %.0f %% of the picture differs from the median of its '
                'clip. The default objective needs a camera that stands still; consider '
                '--objective temporal_transport or motion_energy with short gaps (max_gap_s).',
                100 * share,
            )

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the backgrounds of pairs, (2, B) frame indices."""
        medians = [self._median(int(clip)) for clip in self._clips[frames[0]]]
        images = torch.from_numpy(np.stack(medians)).permute(0, 3, 1, 2)
        return {'background': images.to(torch.float32) / 127.5 - 1}

    def _share_in_motion(self) -> float:
        """Return the share of cells that are not background, the median over some frames."""
        shares = []
        for frame in evenly_spaced(np.arange(len(self._images)), LOOKS):
            background = self._median(int(self._clips[frame]))
            difference = np.abs(self._images[frame].astype(np.int16) - background).mean(axis=-1)
            height, width = (side // CELL for side in difference.shape)
            cells = difference.reshape(height, CELL, width, CELL).mean(axis=(1, 3))
            shares.append(float((cells > DIFFERS).mean()))
        return float(np.median(shares))

    def _median(self, clip: int) -> np.ndarray:
        if clip not in self._medians:
            mine = np.flatnonzero(self._clips == clip)
            chosen = evenly_spaced(mine, FRAMES)
            self._medians[clip] = np.median(self._images[chosen], axis=0).astype(np.uint8)
        return self._medians[clip]
