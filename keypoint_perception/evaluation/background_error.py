"""
Background error: how far keypoints move in front of another episode's background.

A network can memorise an episode by its static background, such as the position of a box, and
still score well within the recording, but not on the next one. To detect this, the moving
foreground is composited onto the background of another episode.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.equivariance_error import Detector
from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Maximum long side of the compared images, px.
LONG_SIDE = 160
# Frames that a median needs at least, and frames that are compared at most.
MIN_FRAMES, MAX_COMPARED = 5, 64
# The foreground differs from the background by more than this, grey levels; it is dilated by a
# margin, a share of the longer side.
FOREGROUND_DIFFERENCE, MARGIN = 12, 0.04
# A larger foreground means that the camera moved or the light changed.
MAX_FOREGROUND_SHARE = 0.5


class BackgroundError(NamedTuple):
    """
    Mean displacement when only the background changes, % of the diagonal; NaN without pairs.

    :param pairs: number of keypoints compared: those on the foreground
    """

    percent: float
    pairs: int


def shrink(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 shrunk to the size used for the comparison."""
    height, width = image.shape[:2]
    factor = LONG_SIDE / max(height, width)
    if factor >= 1:
        return image
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def background_error(
    detect: Detector, images: list[np.ndarray], frames: list[int], stamps_ns: np.ndarray
) -> BackgroundError:
    """
    Compare keypoints of images with those of composites with another episode's background.

    The background of an episode is the median of its images. Images that differ in size from the
    first one are ignored. The comparison needs two episodes with at least 5 images each.

    :param detect: list of B RGB images -> (B, K, 3) u, v in px and confidence
    :param images: a uniform random sample of the recording's images, from :func:`shrink`
    :param frames: index of each image in the recording
    :param stamps_ns: stamps of all frames of the recording in recorded order, (N,) ns
    """
    same_size = [i for i, image in enumerate(images) if image.shape == images[0].shape]
    images = [images[i] for i in same_size]
    episodes = find_episodes(stamps_ns)[[frames[i] for i in same_size]]
    medians = _medians(images, episodes)
    others = dict(zip(medians, [*list(medians)[1:], *list(medians)[:1]], strict=True))
    errors: list[float] = []
    known = np.flatnonzero(np.isin(episodes, list(medians)))
    for i in evenly_spaced(known, MAX_COMPARED) if len(medians) > 1 else []:
        mask = _foreground(images[i], medians[episodes[i]])
        if mask.mean() > MAX_FOREGROUND_SHARE:
            continue
        composite = np.where(mask[..., None], images[i], medians[others[episodes[i]]])
        own, other = np.asarray(detect([images[i], composite]))[..., :2]
        limit = np.array([mask.shape[1], mask.shape[0]]) - 1
        column, row = np.clip(np.rint(own), 0, limit).astype(int).T
        distance = np.linalg.norm(other - own, axis=-1)[mask[row, column]]
        errors += list(100 * distance / diagonal_px(*mask.shape))
    return BackgroundError(float(np.mean(errors)) if errors else float('nan'), len(errors))


def _medians(images: list[np.ndarray], episodes: np.ndarray) -> dict[int, np.ndarray]:
    """Return the background of each episode with enough images."""
    medians = {}
    for episode in np.unique(episodes):
        own = [images[i] for i in np.flatnonzero(episodes == episode)]
        if len(own) >= MIN_FRAMES:
            medians[episode] = np.median(own, axis=0).astype(np.uint8)
    return medians


def _foreground(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the dilated foreground mask, (H, W) bool."""
    difference = np.abs(image.astype(np.float32) - background).mean(axis=-1)
    mask = (cv2.blur(difference, (3, 3)) > FOREGROUND_DIFFERENCE).astype(np.uint8)
    reach = 2 * max(1, round(MARGIN * max(mask.shape))) + 1
    return cv2.dilate(mask, np.ones((reach, reach), np.uint8)).astype(bool)
