"""The backgrounds of frames: of a camera that stands still, or of one that moves."""

from __future__ import annotations

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.backgrounds import Backgrounds
from keypoint_perception.learning.data.mosaics import Mosaics
from keypoint_perception.learning.data.registration import registered_frames
import numpy as np
import torch
from torch import Tensor


class CameraBackgrounds:
    """
    Provides what each frame of a batch of pairs would show without foreground.

    ``background``: of the first frames, then of the second ones, (2B, 3, H, W) in [-1, 1].
    ``noise``: the difference from it that noise explains at each pixel, (2B, 1, H, W).

    :ivar views: of each frame as in :class:`.backgrounds.Backgrounds`, -1 where the camera moves
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """Use a recording, whose frames are registered on first use."""
        registered = registered_frames(store, config)
        self._moving = registered.moving
        self._mosaics = Mosaics(store.images, registered)
        # index of each frame of a still camera among those
        self._rank = np.cumsum(~self._moving) - 1
        self._still: Backgrounds | None = None
        if not registered.any_moves:
            self._still = Backgrounds(store, registered.episodes)
        elif not self._moving.all():
            still = np.flatnonzero(~self._moving)
            self._still = Backgrounds(store.select(still), registered.episodes[still])
        self.views = np.full(len(self._moving), -1)
        if self._still is not None:
            self.views[~self._moving] = self._still.views

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the backgrounds of the frames of pairs, (2, B) indices, and their noise."""
        flat = frames.reshape(-1)
        moving = self._moving[flat]
        if self._still is not None and not moving.any():
            return self._still.take(self._rank[frames])
        background, noise = self._mosaics.take(flat[moving])
        if self._still is None:
            return {'background': background, 'noise': noise}
        still = self._still.take(self._rank[flat[~moving]])
        # both kinds, in the order of the frames
        order = np.argsort(np.concatenate([np.flatnonzero(moving), np.flatnonzero(~moving)]))
        return {
            'background': torch.cat([background, still['background']])[order],
            'noise': torch.cat([noise, still['noise']])[order],
        }
