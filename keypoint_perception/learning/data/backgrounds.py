"""
The static background of each episode: the median of its frames.

A pixel's median is the background if it is occluded for less than half of the episode. Where a
robot rests for longer, the median shows the robot, and the pixel counts as foreground once the
robot has left: objectives may use the background as a hint, not as ground truth.
"""

from __future__ import annotations

import logging

from keypoint_perception.episodes import find_episodes
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.sampling import evenly_spaced
import numpy as np
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Difference of a frame from its background that noise explains, in units of [-1, 1].
NOISE = 0.05
# Frames of an episode that its median is computed from.
MEDIAN_FRAMES = 40
# The camera or the light moves if a frame differs from the background by more than CHANGED_LEVELS
# grey levels in this share of its cells of CELL x CELL pixels; the median over so many frames.
MOVING_SHARE = 0.5
CELL, CHANGED_LEVELS, CHECKED_FRAMES = 8, 12, 16


class Backgrounds:
    """
    Provides what each frame of a batch of pairs would show without foreground.

    ``background``: of the first frames, then of the second ones, (2B, 3, H, W) in [-1, 1].
    ``noise``: the difference from it that noise explains at each pixel, (2B, 1, H, W).
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """Use a recording; an episode's median is computed on first use."""
        self._images = store.images
        self._episodes = find_episodes(store.stamps_ns, store.source, store.camera)
        self._medians: dict[int, np.ndarray] = {}
        share = self._changed_share()
        if share > MOVING_SHARE:
            log.warning(
                'The camera seems to move: %.0f %% of the image differs from the median of its '
                'episode. The default objective needs a static camera; consider --objective '
                'temporal_transport or motion_energy with short gaps (max_gap_s).',
                100 * share,
            )

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the backgrounds of the frames of pairs, (2, B) indices, and their noise."""
        medians = [self._median(int(episode)) for episode in self._episodes[frames.reshape(-1)]]
        images = torch.from_numpy(np.stack(medians)).permute(0, 3, 1, 2)
        background = images.to(torch.float32) / 127.5 - 1
        return {'background': background, 'noise': torch.full_like(background[:, :1], NOISE)}

    def _changed_share(self) -> float:
        """Return the share of cells that are not background, the median over some frames."""
        shares = []
        for frame in evenly_spaced(np.arange(len(self._images)), CHECKED_FRAMES):
            background = self._median(int(self._episodes[frame]))
            difference = np.abs(self._images[frame].astype(np.int16) - background).mean(axis=-1)
            height, width = (side // CELL for side in difference.shape)
            cells = difference.reshape(height, CELL, width, CELL).mean(axis=(1, 3))
            shares.append(float((cells > CHANGED_LEVELS).mean()))
        return float(np.median(shares))

    def _median(self, episode: int) -> np.ndarray:
        if episode not in self._medians:
            members = np.flatnonzero(self._episodes == episode)
            chosen = evenly_spaced(members, MEDIAN_FRAMES)
            self._medians[episode] = np.median(self._images[chosen], axis=0).astype(np.uint8)
        return self._medians[episode]
