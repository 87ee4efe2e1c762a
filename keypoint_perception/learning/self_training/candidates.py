"""
Candidates of a recording's frames: points that may become keypoints, and where they move to.

They are detected once per frame and cached, like the flow. Objectives with ``candidates`` in their
``needs`` get, in network px and NaN beyond the candidates of a frame:

- ``candidates0`` and ``candidates1``, of the two frames of a pair, (B, N, 2);
- ``followed``: where those of the first frame lie in the second, along chains of optical flow of
  up to two seconds, (B, N, 2); NaN where it is not known. A chain counts if the flow back ends
  where it began.

On the labelled points of a development recording with a camera on the hand, chains are known for
82 % of the points over a third of a second (median error 0.5 px of 128) and 51 % over a second
(1.2 px).
"""

from __future__ import annotations

from collections.abc import Callable

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.flows import Flows
from keypoint_perception.learning.self_training.detectors import (
    adapted_corners,
    corners,
    Detector,
    peaks,
    texture,
)
from keypoint_perception.learning.self_training.learned_detector import load_xfeat
from keypoint_perception.learning.self_training.predictability import fit_predictor
import numpy as np
import torch
from torch import Tensor

# Candidates of a frame; the detector ``describe`` chooses from more.
COUNT, POOL = 64, 128
# Least distance of candidates, and how far from its start a chain may end on its way back, as
# shares of the longer image side.
SPACING, CYCLE = 0.03, 0.012
# Longest duration of a chain, s.
LONGEST_S = 2.0

DETECTORS: dict[str, Callable[[np.ndarray], Detector]] = {
    'corners': lambda images: corners,
    'describe': lambda images: texture,
    'unpredictable': fit_predictor,
    'xfeat': lambda images: load_xfeat(),
    'ours': lambda images: adapted_corners,
}


class Candidates:
    """Provides the candidates of each pair of frames."""

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """
        Use a recording; a frame's candidates are detected on first use and cached.

        :raises ConfigError: if the detector needs a package that is not installed
        """
        self._images, self._flows = store.images, Flows(store, config)
        settings = next(part.settings for part in config.parts if part.name == 'self_training')
        name: str = vars(settings)['detector']
        self._detect = DETECTORS[name](store.images)
        self._count = POOL if name == 'describe' else COUNT
        self._side = max(store.images.shape[1:3])
        self._found: dict[int, np.ndarray] = {}

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the candidates of pairs, (2, B) frame indices."""
        first, second = (
            torch.from_numpy(np.stack([self._candidates(int(i)) for i in some])) for some in frames
        )
        followed = self._follow(first, frames)
        return {'candidates0': first, 'candidates1': second, 'followed': followed}

    def _follow(self, points: Tensor, frames: np.ndarray) -> Tensor:
        there = self._flows.follow(points, frames, longest_s=LONGEST_S)
        back = self._flows.follow(there, frames[::-1], longest_s=LONGEST_S)
        closed = (back - points).norm(dim=-1) <= CYCLE * self._side  # False for NaN
        return torch.where(closed[..., None], there, torch.nan)

    def _candidates(self, frame: int) -> np.ndarray:
        """Return the candidates of a frame, (N, 2) float32."""
        if frame not in self._found:
            spacing = max(2, round(SPACING * self._side))
            response = self._detect(np.asarray(self._images[frame]))
            found = peaks(response, count=self._count, spacing=spacing)[:, :2]
            self._found[frame] = np.full((self._count, 2), np.nan, np.float32)
            self._found[frame][: len(found)] = found
        return self._found[frame]
