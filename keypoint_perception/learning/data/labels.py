"""
Labels of the frames of a run, in pixels of the network input.

Objectives with ``labels`` in their ``needs`` get ``labels0`` and ``labels1``, (B, L, 2) network
px, NaN where a point is not labelled.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.annotations import match_labels, read_annotations
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.keypoints import Fit
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.manifest import file_digest
import numpy as np
import torch
from torch import Tensor


class Labels:
    """
    The labels of a run's frames.

    :ivar names: the L names in the order of their first appearance in the file
    :ivar uv: (N, L, 2) float32 network px, NaN where not labelled
    :ivar frames: indices of the frames with a label, in the order of their stamps
    :ivar digest: SHA-256 of the annotation file
    """

    def __init__(self, store: FrameStore, config: TrainConfig) -> None:
        """
        Match the labels with the frames.

        :raises ConfigError: if the configuration has no annotations
        :raises SourceError: if they do not match the frames
        """
        path = config.annotation_file()
        annotations = read_annotations(path)
        uv = match_labels(annotations, store.stamps_ns, store.image_hw, path=path)
        self.names, self.digest = annotations.names, file_digest(path)
        self.frames = _first_share(uv, store.stamps_ns, _fraction(config))
        _refuse_several_cameras(store, self.frames, path)
        self.uv = np.full(uv.shape, np.nan, np.float32)
        for hw in np.unique(store.image_hw[self.frames], axis=0):
            mine = self.frames[(store.image_hw[self.frames] == hw).all(axis=1)]
            height, width = store.network_hw
            fit = Fit((int(hw[0]), int(hw[1])), (height, width))
            self.uv[mine] = fit.to_network(uv[mine])

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the labels of the frames (2, B), each (B, L, 2)."""
        first, second = torch.from_numpy(self.uv[frames])
        return {'labels0': first, 'labels1': second}


class LabelSampler:
    """
    Draws labelled frames, for runs that learn from labels alone.

    The two frames of a pair are independent.
    """

    def __init__(self, frames: np.ndarray, *, seed: int) -> None:
        self._frames = frames
        self._rng = np.random.default_rng(seed)

    def draw(self, count: int) -> np.ndarray:
        """Return frame indices, (2, count) int64."""
        pairs: np.ndarray = self._rng.choice(self._frames, (2, count))
        return pairs

    def state(self) -> dict[str, Any]:
        """Return the random state as JSON values."""
        return dict(self._rng.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where :meth:`state` was taken."""
        self._rng.bit_generator.state = state


def _fraction(config: TrainConfig) -> float:
    """Return the share of the labelled frames that all objectives may use."""
    return min(getattr(part.settings, 'fraction', 1.0) for part in config.parts)


def _first_share(uv: np.ndarray, stamps_ns: np.ndarray, fraction: float) -> np.ndarray:
    """Return the first labelled frames in time; rounded down as evaluation does, at least one."""
    labelled = np.flatnonzero(np.isfinite(uv).all(axis=-1).any(axis=1))
    labelled = labelled[np.argsort(stamps_ns[labelled], kind='stable')]
    return labelled[: max(1, int(fraction * len(labelled)))]


def _refuse_several_cameras(store: FrameStore, frames: np.ndarray, path: Path) -> None:
    # a label says when and where, but not which camera saw it
    stamps_ns = store.stamps_ns[frames]
    alike = np.flatnonzero(np.isin(store.stamps_ns, stamps_ns))
    seen = np.unique(np.stack([store.stamps_ns[alike], store.camera[alike]]), axis=1)
    if seen.shape[1] > len(np.unique(stamps_ns)):
        topics = ', '.join(repr(store.cameras[camera]) for camera in np.unique(seen[1]))
        msg = (
            f'Annotations {str(path)!r} match images of several cameras at the same stamps '
            f'({topics}), and do not say which is meant; name one with --topic.'
        )
        raise SourceError(msg)
