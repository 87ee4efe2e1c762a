"""
How the picture moves from one frame of a pair to the other: optical flow, hop by hop.

Flow is lost over more than a few frames, so it is found over hops of some 67 ms, and from each
hop's end the next one is followed. The method is OpenCV's dense inverse search (Kroeger et al.
2016, https://arxiv.org/abs/1603.03590) down to full resolution and without its smoothing step,
which changed nothing. On the labelled points of four development recordings, 0.2 s apart, it is
known for 40 to 86 % and leaves 5 to 31 % of their motion.
"""

from __future__ import annotations

import cv2
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.keypoints import cells_to_network
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.pairs import find_clips
from keypoint_perception.model.network import map_stride
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Time of a hop, s; at least one frame. Nearer frames hardly differ.
HOP_S = 0.067
# Pairs further apart than this have no flow, s; at least one hop.
LONGEST_S = 1.0
# Flow is unknown where the next frame, moved back, differs from the frame by more grey levels than
# this, averaged over CHECK x CHECK pixels, and by more than this share of what it differs by as it
# is. The outlines of fast and thin parts differ although their flow is right; a small thing that
# is lost differs as much as if it had not been looked for.
MISMATCH, MISMATCH_OF_UNMOVED = 12, 0.5
CHECK = 5
# A hop's flow is kept at every FINE-th pixel: 4 KB at 128 x 128. So many hops are kept.
FINE = 4
KEPT = 50_000


class Flows:
    """
    Supplies how the picture moves between the two frames of each pair.

    ``flow``: how far what is seen at each cell's centre of the earlier frame moves until the
    later one, (B, 2, h, w) network px along x and y; NaN where that is not known, and throughout
    where the two are far apart. ``forward``: whether the first frame comes earlier, (B,) bool.
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """Take a recording; a hop's flow is computed when it is first asked for, and kept."""
        self._images = store.images
        self._hw = tuple(store.images.shape[1:3])
        rows, columns = np.indices(self._hw, np.float32)
        self._pixels = np.stack([columns, rows], axis=-1)  # (H, W, 2)
        stride = map_stride(config.network)
        cells = torch.from_numpy(self._pixels[: self._hw[0] // stride, : self._hw[1] // stride])
        self._starts = cells_to_network(cells, stride)  # (h, w, 2) px
        clips = find_clips(store.stamps_ns, store.source, store.camera)
        # frames are named by their place in this order from here on
        self._order = np.lexsort((store.stamps_ns, clips))
        self._place = np.argsort(self._order)
        self._clips = clips[self._order]
        self._hop, self._most = _hops(store.stamps_ns[self._order], self._clips)
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._search.setFinestScale(0)
        self._search.setGradientDescentIterations(12)
        self._search.setPatchStride(4)
        self._search.setVariationalRefinementIterations(0)

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the motion between the frames of pairs, (2, B) frame indices."""
        first, second = self._place[frames]
        flow = self._follow(np.minimum(first, second), np.maximum(first, second))
        return {'flow': flow, 'forward': torch.from_numpy(first < second)}

    def _follow(self, now: np.ndarray, last: np.ndarray) -> Tensor:
        """Return how far each cell's centre moves until the last frame, (B, 2, h, w) px."""
        hop, hops = self._hop[now], -(-(last - now) // self._hop[now])
        near = (hops <= self._most[now]) & (self._clips[now] == self._clips[last])
        places = self._starts.repeat(len(now), 1, 1, 1)  # (B, h, w, 2)
        places[torch.from_numpy(~near)] = torch.nan
        while (going := np.flatnonzero(near & (now < last))).size:
            then = np.where(near, np.minimum(now + hop, last), now)
            flows = [self._flow(int(now[i]), int(then[i])) for i in going]
            flows = torch.from_numpy(np.stack(flows).astype(np.float32)).permute(0, 3, 1, 2)
            places[going] += _look_up(flows, places[going], self._hw)
            now = then
        return (places - self._starts).permute(0, 3, 1, 2)

    def _flow(self, here: int, there: int) -> np.ndarray:
        if (here, there) not in self._flows:
            if len(self._flows) >= KEPT:
                self._flows.pop(next(iter(self._flows)))
            self._flows[here, there] = self._compute(here, there).astype(np.float16)
        return self._flows[here, there]

    def _compute(self, here: int, there: int) -> np.ndarray:
        frame, after = (
            cv2.cvtColor(self._images[self._order[i]], cv2.COLOR_RGB2GRAY) for i in (here, there)
        )
        flow = self._search.calc(frame, after, None)
        where = self._pixels + flow
        moved = cv2.remap(after, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        differs = cv2.blur(cv2.absdiff(frame, moved), (CHECK, CHECK))
        unmoved = cv2.blur(cv2.absdiff(frame, after), (CHECK, CHECK))
        flow[differs > np.maximum(MISMATCH, MISMATCH_OF_UNMOVED * unmoved)] = np.nan
        centre = slice(FINE // 2, None, FINE)
        return flow[centre, centre]


def _look_up(flows: Tensor, places: Tensor, hw: tuple[int, int]) -> Tensor:
    """
    Return the flow at places, NaN outside the image.

    :param flows: (n, 2, h', w') px
    :param places: (n, h, w, 2) px
    """
    grid = (places + 0.5) / torch.tensor([hw[1], hw[0]]) * 2 - 1
    inside = (grid.abs() <= 1).all(dim=-1, keepdim=True)  # NaN is not
    found = functional.grid_sample(
        flows, torch.where(inside, grid, 0.0), padding_mode='border', align_corners=False
    )
    return torch.where(inside, found.permute(0, 2, 3, 1), torch.nan)


def _hops(stamps_ns: np.ndarray, clips: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return how many frames a hop is, and how many hops may be made, of each frame's clip."""
    hop, most = np.ones((2, len(clips)), np.int64)
    for clip in np.unique(clips):
        mine = np.flatnonzero(clips == clip)
        period_s = np.median(np.diff(stamps_ns[mine])) / 1e9 if len(mine) > 1 else HOP_S
        period_s = max(period_s, 1e-6)
        hop[mine] = max(1, round(HOP_S / period_s))
        most[mine] = max(1, round(LONGEST_S / (hop[mine[0]] * period_s)))
    return hop, most
