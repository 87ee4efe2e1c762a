"""
How well a recording is explained over the time that was spent learning.

The averaged network of several moments of a run is run over the labelled frames; a target is
reached at the first moment whose ``explained`` is at least it, with no interpolation. The time is
that of learning alone: taking and scoring the copies does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from keypoint_perception.episodes import find_episodes
from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.evaluation.detections import BATCH
from keypoint_perception.evaluation.regression import score_regression
from keypoint_perception.images import fit_image
from keypoint_perception.keypoints import diagonal_px, Fit
import numpy as np


class CurveFrames(NamedTuple):
    """
    The frames that have labels, in the order of their stamps.

    :param images: fitted to the network, (N, h, w, 3) uint8
    :param image_hw: heights and widths as recorded, (N, 2) px
    :param episode: of each frame, as all frames of the recording have it, (N,)
    """

    stamps_ns: np.ndarray
    images: np.ndarray
    image_hw: np.ndarray
    episode: np.ndarray

    def to_images(self, keypoints: np.ndarray) -> np.ndarray:
        """Return network px (N, K, 2) in px of the images as recorded."""
        network_hw = self.images.shape[1:3]
        moved = np.empty(keypoints.shape, np.float64)
        for hw in np.unique(self.image_hw, axis=0):
            mine = (self.image_hw == hw).all(axis=1)
            fit = Fit(tuple(int(n) for n in hw), network_hw)
            moved[mine] = fit.to_image(keypoints[mine])
        return moved


class CurvePoint(NamedTuple):
    """Quality at a moment of a run; errors in % of the diagonal."""

    step: int
    elapsed_s: float
    explained: float
    regressed_error_percent: float


def gather_labelled(
    frames: Iterable, stamps_ns: np.ndarray, network_hw: tuple[int, int]
) -> CurveFrames:
    """
    Return the frames with labels, small enough to be kept.

    :param frames: stamped images, as read
    :param stamps_ns: stamps of the labels
    :raises SourceError: if no frame has one of these stamps
    """
    wanted = {int(stamp) for stamp in stamps_ns}
    found, recorded = {}, []
    for frame in frames:
        recorded.append(frame.stamp_ns)
        # where two frames have one stamp the labels go to the first
        if frame.stamp_ns in wanted and frame.stamp_ns not in found:
            hw = frame.image.shape[:2]
            fitted = np.zeros((*network_hw, 3), np.uint8)
            fit_image(frame.image, Fit(hw, network_hw), out=fitted)
            found[frame.stamp_ns] = (fitted, hw)
    if not found:
        msg = 'No frame of the recording has a label; the stamps must be those of its images.'
        raise SourceError(msg)
    stamps = sorted(found)
    recorded = np.unique(np.array(recorded, np.int64))
    return CurveFrames(
        np.array(stamps, np.int64),
        np.stack([found[stamp][0] for stamp in stamps]),
        np.array([found[stamp][1] for stamp in stamps], np.int64),
        find_episodes(recorded)[np.searchsorted(recorded, stamps)],
    )


def score_moment(
    frames: CurveFrames,
    labels: np.ndarray,
    names: tuple[str, ...],
    estimate_batch: Callable[[list[np.ndarray]], list[np.ndarray]],
) -> tuple[float, float]:
    """
    Return ``explained`` and the regressed error (% of the diagonal) of a network.

    :param labels: (N, L, 2) px of the images as recorded, NaN where not labelled
    :param estimate_batch: B images of the network's size -> B arrays (K, 3)
    """
    found = []
    for start in range(0, len(frames.images), BATCH):
        found += estimate_batch(list(frames.images[start : start + BATCH]))
    score = score_regression(
        frames.stamps_ns,
        frames.to_images(np.stack(found)[..., :2]),
        labels,
        names=names,
        diagonal_px=np.array([diagonal_px(*hw) for hw in frames.image_hw]),
        episode=frames.episode,
    )
    return score.mean_explained, score.mean_error_percent


def seconds_to(curve: Iterable[CurvePoint], target: float) -> float | None:
    """Return the learning time of the first moment that reaches a target, None if none does."""
    return next((m.elapsed_s for m in curve if m.explained >= target), None)


def check_target(target: float) -> None:
    """
    Refuse what no run can reach, or all do.

    :raises ConfigError: if it is not between 0 and 1
    """
    if not 0 < target < 1:
        msg = f'--target: must be an explained value between 0 and 1, got {target:g}.'
        raise ConfigError(msg)
