"""
Optical flow between the two frames of a pair, chained over short hops.

Flow fails over more than a few frames, so it is computed over hops of about 67 ms and chained. The
method is OpenCV's dense inverse search (Kroeger et al. 2016, https://arxiv.org/abs/1603.03590) at
full resolution, without variational refinement, which changed nothing. On the labelled points of
four development recordings, over 0.2 s, it is known for 40 to 86 % of the points, with a residual
of 5 to 31 % of their motion. At half the resolution it takes a third of the time but is known for
half to five sixths as many points; with 5 instead of 12 iterations, for 0.83 to 0.97 times as many
in 0.8 to 0.95 of the time. So the next batch is prepared while a step runs instead
(:mod:`..batch_loader`).
"""

from __future__ import annotations

from pathlib import Path

import cv2
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.keypoints import cells_to_network
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.registration import registered_frames
from keypoint_perception.learning.data.tracks import Tracks
from keypoint_perception.model.network import map_stride
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Duration of a hop, s; at least one frame. Closer frames hardly differ.
HOP_S = 0.067
# Pairs further apart than this have no flow, s; at least one hop is allowed.
LONGEST_S = 1.0
# Flow is unknown where the later frame, warped back, differs from the earlier one by more than
# RESIDUAL grey levels, averaged over WINDOW x WINDOW pixels, and by more than this share of the
# difference without warping. The outlines of fast and thin parts differ although their flow is
# right; a small object that is lost differs as much as without warping.
RESIDUAL, RESIDUAL_SHARE = 12, 0.5
WINDOW = 5
# A hop's flow is cached at every SPACING-th pixel: 4 KB at 128 x 128.
SPACING = 4
CACHED_HOPS = 50_000


class Flows:
    """
    Provides the optical flow of each pair.

    ``flow``: displacement of each cell's centre from the earlier frame to the later one,
    (B, 2, h, w) network px along x and y; NaN where unknown, and everywhere in pairs that are far
    apart. Near the points of a user's tracker, it is their displacement, however far apart.
    ``forward``: whether the first frame is the earlier one, (B,) bool.

    :ivar tracks: of the user's tracker; None without
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """Use a recording; a hop's flow is computed on first use and cached."""
        self._images = store.images
        self._hw = store.images.shape[1:3]
        rows, columns = np.indices(self._hw, np.float32)
        self._pixels = np.stack([columns, rows], axis=-1)  # (H, W, 2)
        stride = map_stride(config.network)
        cells = torch.from_numpy(self._pixels[: self._hw[0] // stride, : self._hw[1] // stride])
        self._starts: Tensor = cells_to_network(cells, stride)  # (h, w, 2) px
        episodes = registered_frames(store, config).episodes
        # below, frames are indexed by their rank in this order
        self._order = np.lexsort((store.stamps_ns, episodes))
        self._rank = np.argsort(self._order)
        self._stamps_ns, self._episodes = store.stamps_ns[self._order], episodes[self._order]
        self._hop, self._longest_ns = _hops(self._stamps_ns, self._episodes)
        self._flows: dict[tuple[int, int], np.ndarray] = {}
        self.tracks = Tracks(store, Path(config.tracks)) if config.tracks else None
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._search.setFinestScale(0)
        self._search.setGradientDescentIterations(12)
        self._search.setPatchStride(4)
        self._search.setVariationalRefinementIterations(0)

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the flow of pairs, (2, B) frame indices."""
        first, second = self._rank[frames]
        starts = self._starts.expand(len(first), -1, -1, -1)  # (B, h, w, 2)
        ends = self._follow(starts, np.minimum(first, second), np.maximum(first, second))
        flow = (ends - self._starts).permute(0, 3, 1, 2)
        if self.tracks is not None:
            earlier, later = np.where(first < second, frames, frames[::-1])
            flow = self.tracks.along(flow, self._starts, earlier, later)
        return {'flow': flow, 'forward': torch.from_numpy(first < second)}

    def follow(self, points: Tensor, frames: np.ndarray, *, longest_s: float = 0.0) -> Tensor:
        """
        Return where points of the first frames lie in the second ones, earlier or later.

        :param points: (B, N, 2) network px
        :param frames: (2, B) frame indices
        :param longest_s: pairs further apart than this, s, have no flow, if it is longer than
            :data:`LONGEST_S`
        :return: (B, N, 2) network px, NaN where unknown
        """
        first, second = self._rank[frames]
        return self._follow(points[:, None], first, second, longest_s=longest_s)[:, 0]

    def _follow(
        self, points: Tensor, now: np.ndarray, last: np.ndarray, longest_s: float = 0.0
    ) -> Tensor:
        """Return where points (B, h, w, 2) px of frames lie in the last ones."""
        step = self._hop[now] * np.sign(last - now)
        duration_ns = np.abs(self._stamps_ns[last] - self._stamps_ns[now])
        near = self._episodes[now] == self._episodes[last]
        # in proportion, so that half a frame is left for jitter
        near &= duration_ns <= self._longest_ns[now] * max(1.0, longest_s / LONGEST_S)
        points = points.clone()
        points[torch.from_numpy(~near)] = torch.nan
        while (active := np.flatnonzero(near & (now != last))).size:
            left = last - now
            then = np.where(near, now + np.where(np.abs(left) < np.abs(step), left, step), now)
            hops = np.stack([self._flow(int(now[i]), int(then[i])) for i in active])
            flows = torch.from_numpy(hops.astype(np.float32)).permute(0, 3, 1, 2)
            points[active] += _sample(flows, points[active], self._hw)
            now = then
        return points

    def _flow(self, start: int, end: int) -> np.ndarray:
        if (start, end) not in self._flows:
            if len(self._flows) >= CACHED_HOPS:
                self._flows.pop(next(iter(self._flows)))
            self._flows[start, end] = self._compute(start, end).astype(np.float16)
        return self._flows[start, end]

    def _compute(self, start: int, end: int) -> np.ndarray:
        frame, next_frame = (
            cv2.cvtColor(self._images[self._order[i]], cv2.COLOR_RGB2GRAY) for i in (start, end)
        )
        # OpenCV's stubs do not know that the initial flow may be None
        flow: np.ndarray = self._search.calc(frame, next_frame, None)  # type: ignore[call-overload]
        u, v = np.moveaxis(self._pixels + flow, 2, 0)
        warped = cv2.remap(next_frame, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        residual = cv2.blur(cv2.absdiff(frame, warped), (WINDOW, WINDOW))
        unwarped = cv2.blur(cv2.absdiff(frame, next_frame), (WINDOW, WINDOW))
        flow[residual > np.maximum(RESIDUAL, RESIDUAL_SHARE * unwarped)] = np.nan
        centre = slice(SPACING // 2, None, SPACING)
        return flow[centre, centre]


def _sample(flows: Tensor, points: Tensor, hw: tuple[int, int]) -> Tensor:
    """Return flows (n, 2, h', w') at points (n, h, w, 2) px, NaN outside the image."""
    grid = (points + 0.5) / torch.tensor([hw[1], hw[0]]) * 2 - 1
    inside = (grid.abs() <= 1).all(dim=-1, keepdim=True)  # False for NaN
    found = functional.grid_sample(
        flows, torch.where(inside, grid, 0.0), padding_mode='border', align_corners=False
    )
    return torch.where(inside, found.permute(0, 2, 3, 1), torch.nan)


def _hops(stamps_ns: np.ndarray, episodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Return for each frame how many frames a hop is, and the longest duration of a pair, ns.

    The duration leaves half a frame for jitter. It is time and not a number of hops, so that no
    hop reaches across a dropout.
    """
    hop, longest_ns = np.ones((2, len(episodes)), np.int64)
    for episode in np.unique(episodes):
        members = np.flatnonzero(episodes == episode)
        period_s = np.median(np.diff(stamps_ns[members])) / 1e9 if len(members) > 1 else HOP_S
        period_s = max(period_s, 1e-6)
        frames = max(1, round(HOP_S / period_s))
        hops = max(1, round(LONGEST_S / (frames * period_s)))
        hop[members] = frames
        longest_ns[members] = round((frames * hops + 0.5) * period_s * 1e9)
    return hop, longest_ns
