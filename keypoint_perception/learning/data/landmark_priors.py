"""
Where a model's keypoints say that labelled points are, in all frames of a run.

With ``init`` a model that was trained on the recording without labels, its keypoints predict the
labelled points by the linear map of :mod:`keypoint_perception.geometry.landmark_fit`. The map
is coarse, but it has seen what the points do together in all frames, and is never wrong by half
an image as a heatmap learned from ten labels may be.
"""

from __future__ import annotations

import logging
from pathlib import Path

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.geometry.landmark_fit import fit_landmarks, MIN_FRAMES
from keypoint_perception.keypoints import diagonal_px, Fit
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.labels import Labels
from keypoint_perception.learning.initial.initial_weights import is_model
from keypoint_perception.model.checkpoint import load_network
import numpy as np
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

CHUNK = 32
# The mean length of a vector whose two coordinates have a standard deviation of one.
MEAN_LENGTH = float(np.sqrt(np.pi / 2))
# No prior is surer than this, in px.
LEAST_DEVIATION_PX = 1.0


class LandmarkPriors:
    """
    Predictions of the labelled points from the keypoints of the model that a run starts from.

    :ivar uv: (N, L, 2) float32 network px, NaN where nothing is predicted: if the run starts from
        no model, or from one of another input size, or for points with fewer than
        :data:`MIN_FRAMES` labels
    :ivar deviation: standard deviation of each coordinate by cross-validation, (L,) float32 px
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """
        Fit the map to the labelled frames of the run, and apply it to all.

        :raises ConfigError: if the configuration has no annotations
        :raises SourceError: if they do not match the frames
        :raises ModelError: if ``init`` is a model that cannot be read
        """
        labels = Labels(store, config)
        self.uv = np.full(labels.uv.shape, np.nan, np.float32)
        self.deviation = np.full(len(labels.names), LEAST_DEVIATION_PX, np.float32)
        counts = np.isfinite(labels.uv[labels.frames]).all(axis=-1).sum(axis=0)
        fitted = np.flatnonzero(counts >= MIN_FRAMES)
        found = _keypoints(store, config.init) if len(fitted) else None
        if found is None:
            return
        height, width = (int(side) for side in store.image_hw[0])
        diagonal = diagonal_px(*Fit((height, width), store.network_hw).filled_hw)
        landmarks, scores = fit_landmarks(
            store.stamps_ns[labels.frames],
            found[labels.frames],
            labels.uv[labels.frames][:, fitted],
            names=tuple(labels.names[j] for j in fitted),
            diagonal_px=diagonal,
        )
        self.uv[:, fitted] = landmarks.apply(found)[..., :2]
        errors_px = np.array([score.error_percent for score in scores]) * diagonal / 100
        self.deviation[fitted] = np.maximum(errors_px / MEAN_LENGTH, LEAST_DEVIATION_PX)

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return what is known of the points of frames (2, B): ``prior0``, ..., ``spread1``."""
        first, second = torch.from_numpy(self.uv[frames])
        spread = torch.from_numpy(self.deviation).expand(len(first), -1)
        return {'prior0': first, 'prior1': second, 'spread0': spread, 'spread1': spread}


@torch.no_grad()
def _keypoints(store: FrameStore, init: str) -> np.ndarray | None:
    """Return the keypoints of a model in all frames, (N, K, 3) network px and confidence."""
    if not is_model(init):
        return None
    network = load_network(Path(init)).eval()
    if network.config.input_hw != store.network_hw:
        log.info(
            'The keypoints of %r, %d x %d, predict no labelled points in frames of %d x %d.',
            *(init, *network.config.input_hw, *store.network_hw),
        )
        return None
    found = [
        network(torch.from_numpy(np.ascontiguousarray(store.images[start : start + CHUNK])))
        for start in range(0, len(store.images), CHUNK)
    ]
    return torch.cat(found).numpy()
