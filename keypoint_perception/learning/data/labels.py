"""
Annotated points of the frames of a run, in pixels of the network input.

Objectives with ``labels`` in their ``needs`` get ``labels0`` and ``labels1``, (B, L, 2) network
px, NaN where a point is not labelled.
"""

from __future__ import annotations

from pathlib import Path

from keypoint_perception.errors import SourceError
from keypoint_perception.frames.annotations import match_labels, read_annotations
from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.holdout import count_fitted
from keypoint_perception.keypoints import Fit
from keypoint_perception.learning.config import TrainConfig
from keypoint_perception.learning.data.pairs import SeededSampler
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
        whole = store.whole  # labels of withheld frames are not without a frame
        uv = match_labels(annotations, whole.stamps_ns, whole.image_hw, path=path)[store.selected]
        self.names, self.digest = annotations.names, file_digest(path)
        # the share that all objectives may use
        fraction = min(getattr(part.settings, 'fraction', 1.0) for part in config.parts)
        self.frames = _first_share(uv, store.stamps_ns, fraction)
        if not len(self.frames):
            msg = (
                f'Annotations {str(path)!r} label withheld frames only; label frames of the first '
                f'{1 - config.holdout:.0%} of the recording, or learn with --holdout 0.'
            )
            raise SourceError(msg)
        _refuse_several_cameras(store, self.frames, path)
        self.uv = np.full(uv.shape, np.nan, np.float32)
        for hw in np.unique(store.image_hw[self.frames], axis=0):
            mine = self.frames[(store.image_hw[self.frames] == hw).all(axis=1)]
            fit = Fit((int(hw[0]), int(hw[1])), store.network_hw)
            self.uv[mine] = fit.to_network(uv[mine])

    def take(self, frames: np.ndarray) -> dict[str, Tensor]:
        """Return the labels of the frames (2, B), each (B, L, 2)."""
        first, second = torch.from_numpy(self.uv[frames])
        return {'labels0': first, 'labels1': second}


class LabelSampler(SeededSampler):
    """Draws labelled frames, for runs from labels alone; the frames of a pair are unrelated."""

    def __init__(self, frames: np.ndarray, *, seed: int) -> None:
        super().__init__(seed)
        self._frames = frames

    def draw(self, count: int) -> np.ndarray:
        """Return frame indices, (2, count) int64."""
        pairs: np.ndarray = self._rng.choice(self._frames, (2, count))
        return pairs


def _first_share(uv: np.ndarray, stamps_ns: np.ndarray, fraction: float) -> np.ndarray:
    """Return the first labelled frames in time; rounded down as evaluation does, at least one."""
    labelled = np.flatnonzero(np.isfinite(uv).all(axis=-1).any(axis=1))
    labelled = labelled[np.argsort(stamps_ns[labelled], kind='stable')]
    return labelled[: count_fitted(len(labelled), 1 - fraction)]


def _refuse_several_cameras(store: FrameStore, frames: np.ndarray, path: Path) -> None:
    # a label says when and where, but not which camera saw it
    stamps_ns = store.stamps_ns[frames]
    alike = np.flatnonzero(np.isin(store.stamps_ns, stamps_ns))
    seen = np.unique(np.stack([store.stamps_ns[alike], store.camera[alike]]), axis=1)
    if seen.shape[1] > len(np.unique(stamps_ns)):
        topics = ', '.join(repr(store.cameras[camera]) for camera in np.unique(seen[1]))
        msg = (
            f'Annotations {str(path)!r} match images of several cameras at the same stamps '
            f'({topics}), and do not say which is meant; extract one of them into a frame store '
            'with --topic, and train on that.'
        )
        raise SourceError(msg)
