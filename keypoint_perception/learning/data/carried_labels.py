"""
Labels carried along the optical flow to the frames before and after them.

Some seconds of film around a labelled frame show the same points at other places. The flow
(:mod:`.flows`) is chained from the labelled frame to each frame near it and back again; a point is
carried where it returns to its label, the check of forward and backward flow of Kalal et al. 2010
(https://doi.org/10.1109/ICPR.2010.675).
"""

from __future__ import annotations

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.flows import Flows
from keypoint_perception.learning.data.labels import Labels
import numpy as np
import torch
from torch import Tensor

# Labels are carried to frames that are at most so far away in time, s, one frame at least; as many
# frames on either side of a label, evenly spaced.
LONGEST_S = 0.5
MOST_FRAMES = 8
# A carried point must return to within this distance of its label, as a share of the longer side
# of the network input.
MOST_RETURN = 0.01


class CarriedLabels(Labels):
    """
    The labels of a run's frames, and the frames near them that labels can be carried to.

    :ivar carried: (N, L, 2) float32 network px, NaN where a point is labelled, or no label of it
        can be carried to
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """
        Match the labels with the frames, and carry them.

        :raises ConfigError: if the configuration has no annotations
        :raises SourceError: if they do not match the frames
        """
        super().__init__(store, config)
        self.carried = np.full(self.uv.shape, np.nan, np.float32)
        flows, most_px = Flows(store, config), MOST_RETURN * max(store.network_hw)
        nearest_ns = np.full(self.uv.shape[:2], np.iinfo(np.int64).max)
        for frame in self.frames.tolist():
            near = _near(store, frame)
            if not len(near):
                continue
            found = _carry(flows, self.uv[frame], frame, near, most_px)
            away_ns = np.abs(store.stamps_ns[near] - store.stamps_ns[frame])[:, None]
            better = np.isfinite(found).all(axis=-1) & (away_ns < nearest_ns[near])
            self.carried[near] = np.where(better[..., None], found, self.carried[near])
            nearest_ns[near] = np.where(better, away_ns, nearest_ns[near])
        self.carried[np.isfinite(self.uv).all(axis=-1)] = np.nan

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the labels of the frames (2, B) and those carried to them, each (B, L, 2)."""
        first, second = torch.from_numpy(self.carried[frames])
        return super().take(frames) | {'carried0': first, 'carried1': second}


def _near(store: FrameStore, frame: int) -> np.ndarray:
    """Return frames of the same camera and recording before and after a frame, as indices."""
    mine = (store.source == store.source[frame]) & (store.camera == store.camera[frame])
    away_ns = store.stamps_ns - store.stamps_ns[frame]
    sides = [np.flatnonzero(mine & (sign * away_ns > 0)) for sign in (-1, 1)]
    chosen = []
    for side in sides:
        side = side[np.argsort(np.abs(away_ns[side]), kind='stable')]
        count = max(1, int((np.abs(away_ns[side]) <= LONGEST_S * 1e9).sum()))
        picked = np.unique(np.linspace(0, count - 1, min(count, MOST_FRAMES)).round().astype(int))
        chosen.append(side[:count][picked[picked < len(side)]])
    return np.concatenate(chosen)


def _carry(
    flows: Flows, uv: np.ndarray, frame: int, near: np.ndarray, most_px: float
) -> np.ndarray:
    """Return labels (L, 2) px of a frame carried to other frames, (n, L, 2); NaN where not."""
    start = torch.from_numpy(uv).expand(len(near), -1, -1)
    there = np.stack([np.full_like(near, frame), near])
    found = flows.follow(start, there)
    back = flows.follow(found, there[::-1])
    returns = (back - start).norm(dim=-1) <= most_px  # False for NaN
    carried: np.ndarray = torch.where(returns[..., None], found, torch.nan).numpy()
    return carried
