"""
Quality over learning time.

Snapshots of a run's averaged network are scored on the labelled frames. A target is reached at the
first snapshot whose ``explained`` is not below it, without interpolation. Taking and scoring
snapshots does not count as learning time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from keypoint_perception.episodes import find_episodes
from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.evaluation.detections import BATCH
from keypoint_perception.evaluation.regression import score_regression
from keypoint_perception.frames.frame import Frame
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import diagonal_px, Fit
import numpy as np


class CurveFrames(NamedTuple):
    """
    The labelled frames in the order of their stamps.

    :param images: fitted to the network, (N, h, w, 3) uint8
    :param image_hw: recorded heights and widths, (N, 2) px
    :param episode: of each frame, found from all frames of the recording, (N,)
    """

    stamps_ns: np.ndarray
    images: np.ndarray
    image_hw: np.ndarray
    episode: np.ndarray
    topics: tuple[str, ...] = ()

    def to_images(self, keypoints: np.ndarray) -> np.ndarray:
        """Convert network px (N, K, 2) to px of the recorded images."""
        _, height, width, _ = self.images.shape
        moved = np.empty(keypoints.shape, np.float64)
        for hw in np.unique(self.image_hw, axis=0):
            mine = (self.image_hw == hw).all(axis=1)
            fit = Fit((int(hw[0]), int(hw[1])), (height, width))
            moved[mine] = fit.to_image(keypoints[mine])
        return moved


class CurvePoint(NamedTuple):
    """Quality of a snapshot; the error is in % of the image diagonal."""

    step: int
    elapsed_s: float
    explained: float
    regressed_error_percent: float


def read_labelled_frames(
    frames: Iterable[Frame], stamps_ns: np.ndarray, network_hw: tuple[int, int]
) -> CurveFrames:
    """
    Return the frames with the stamps of labels, fitted to the network.

    :raises SourceError: if there are none
    """
    wanted = {int(stamp) for stamp in stamps_ns}
    found: dict[int, tuple[np.ndarray, tuple[int, int], str]] = {}
    all_stamps = []
    for frame in frames:
        all_stamps.append(frame.stamp_ns)
        # labels belong to the first of several frames of one stamp
        if frame.stamp_ns in wanted and frame.stamp_ns not in found:
            hw = frame.image.shape[0], frame.image.shape[1]
            fitted = np.zeros((*network_hw, 3), np.uint8)
            fit_image(frame.image, Fit(hw, network_hw), out=fitted)
            found[frame.stamp_ns] = (fitted, hw, frame.topic)
    if not found:
        msg = 'No frame of the recording has a label; their stamps must be those of its images.'
        raise SourceError(msg)
    stamps = sorted(found)
    recorded = np.unique(np.array(all_stamps, np.int64))
    return CurveFrames(
        np.array(stamps, np.int64),
        np.stack([found[stamp][0] for stamp in stamps]),
        np.array([found[stamp][1] for stamp in stamps], np.int64),
        find_episodes(recorded)[np.searchsorted(recorded, stamps)],
        tuple(found[stamp][2] for stamp in stamps),
    )


def score_snapshot(
    frames: CurveFrames,
    labels: np.ndarray,
    names: tuple[str, ...],
    estimate_batch: Callable[[list[np.ndarray]], list[np.ndarray]],
    withheld: np.ndarray | None = None,
) -> tuple[float, float]:
    """
    Return ``explained`` and the regressed error (% of the diagonal) of a network.

    :param labels: (N, L, 2) px of the recorded images, NaN where not labelled
    :param estimate_batch: B images of the network's size -> B arrays (K, 3)
    :param withheld: whether each frame was withheld from the model, (N,) bool
    """
    found: list[np.ndarray] = []
    for start in range(0, len(frames.images), BATCH):
        found += estimate_batch(list(frames.images[start : start + BATCH]))
    score = score_regression(
        frames.stamps_ns,
        frames.to_images(np.stack(found)[..., :2]),
        labels,
        names=names,
        diagonal_px=np.array([diagonal_px(*hw) for hw in frames.image_hw]),
        episode=frames.episode,
        withheld=withheld,
    )
    return score.mean_explained, score.mean_error_percent


def seconds_to(curve: Iterable[CurvePoint], target: float) -> float | None:
    """Return the learning time at which a target is reached, None if it is not."""
    return next((point.elapsed_s for point in curve if point.explained >= target), None)


def check_target(target: float) -> None:
    """Raise ConfigError for a target that is not between 0 and 1."""
    if not 0 < target < 1:
        msg = f'--target: must be an explained value between 0 and 1, got {target:g}.'
        raise ConfigError(msg)
