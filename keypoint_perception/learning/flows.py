"""
How the picture moves from one frame to the next: dense optical flow, computed once a frame.

The method is OpenCV's dense inverse search (Kroeger et al. 2016, https://arxiv.org/abs/1603.03590)
down to full resolution and without its smoothing step, which changed nothing. On the labelled
points of four development recordings, 67 ms apart, it left 16 to 44 % of the motion.
"""

from __future__ import annotations

import cv2
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.pairs import find_clips
from keypoint_perception.model.network import map_stride
import numpy as np
import torch
from torch import Tensor

# Time between the two frames, s; at least one frame. Nearer ones hardly differ, and over longer
# times the flow is lost.
APART_S = 0.067
# Flow is unknown where the next frame, moved back, differs by more grey levels than this from the
# frame, averaged over CHECK x CHECK pixels.
MISMATCH = 12
CHECK = 5


class Flows:
    """
    Supplies a next frame to every second pair's first frame, and the motion between the two.

    ``next``: the frames about 67 ms later, (n, 3, H, W) in [-1, 1]. ``flow``: how far what is
    seen at each cell's centre moves until then, (n, 2, h, w) network px along x and y; NaN
    where that is not known, and everywhere at the end of a clip.
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """Take a recording; a frame's flow is computed when it is first asked for, and kept."""
        self._images = store.images
        self._stride = map_stride(config.network)
        self._next = _find_next(store)
        self._flows: dict[int, np.ndarray] = {}
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._search.setFinestScale(0)
        self._search.setGradientDescentIterations(12)
        self._search.setPatchStride(4)
        self._search.setVariationalRefinementIterations(0)

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return what follows the first frames of every second pair, (2, B) frame indices."""
        chosen = frames[0, ::2]
        flows = np.stack([self._flow(int(frame)) for frame in chosen]).astype(np.float32)
        images = torch.from_numpy(self._images[self._next[chosen]]).permute(0, 3, 1, 2)
        return {
            'next': images.to(torch.float32) / 127.5 - 1,
            'flow': torch.from_numpy(flows).permute(0, 3, 1, 2),
        }

    def _flow(self, frame: int) -> np.ndarray:
        if frame not in self._flows:
            self._flows[frame] = self._compute(frame, int(self._next[frame])).astype(np.float16)
        return self._flows[frame]

    def _compute(self, frame: int, following: int) -> np.ndarray:
        centre = slice(self._stride // 2, None, self._stride)
        height, width = self._images.shape[1:3]
        if following == frame:
            return np.full((height // self._stride, width // self._stride, 2), np.nan)
        here, there = (
            cv2.cvtColor(self._images[i], cv2.COLOR_RGB2GRAY) for i in (frame, following)
        )
        flow = self._search.calc(here, there, None)
        rows, columns = np.mgrid[:height, :width].astype(np.float32)
        moved = cv2.remap(
            there,
            columns + flow[..., 0],
            rows + flow[..., 1],
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        mismatch = cv2.blur(cv2.absdiff(here, moved), (CHECK, CHECK))
        flow[mismatch > MISMATCH] = np.nan
        return flow[centre, centre]


def _find_next(store: FrameStore) -> np.ndarray:
    """Return the frame that follows each by :data:`APART_S`, itself where its clip ends."""
    clips = find_clips(store.stamps_ns, store.source, store.camera)
    following = np.arange(len(clips))
    for clip in np.unique(clips):
        mine = np.flatnonzero(clips == clip)
        mine = mine[np.argsort(store.stamps_ns[mine], kind='stable')]
        period_s = np.median(np.diff(store.stamps_ns[mine])) / 1e9 if len(mine) > 1 else APART_S
        ahead = max(1, round(APART_S / max(period_s, 1e-6)))
        following[mine[:-ahead]] = mine[ahead:]
    return following
