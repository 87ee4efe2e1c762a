"""
Keypoints must not know an episode by what rests in it: the error on other episodes' backgrounds.

What stands around differs between episodes: a ball to be reached, a box. A network can learn by
heart how things lie in the episode that it knows by that, and all measures within the recording
look well; the next recording is new to it. So what moves is cut out and put where it was, on the
background of another episode.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
from keypoint_perception.episodes import find_episodes
from keypoint_perception.evaluation.equivariance_error import Detector
from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Images are compared at this size of their longer side at most, px.
LONG_SIDE = 160
# Fewer frames of an episode have no median to speak of; more frames than this are not asked.
LEAST_FRAMES, ASKED = 5, 64
# What differs from the background by more grey levels is in front of it, and what is nearer to it
# than this share of the longer side is cut out with it.
DIFFERS, MARGIN = 12, 0.04
# Where more of a picture is in front, the camera moved or the light changed.
LARGEST_SHARE = 0.5


@dataclass(frozen=True)
class BackgroundError:
    """
    How far keypoints go when only the background changes.

    :param percent: mean over all pairs, % of the diagonal; NaN without pairs
    :param pairs: keypoints compared: those on what moves
    """

    percent: float
    pairs: int


def shrink(image: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 at the size at which backgrounds are compared."""
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
    Compare keypoints of images with those of the same foreground in front of another episode.

    The background of an episode is the median of its images; images of another size than the
    first one's are left out. Where there are not two episodes with at least 5 images each, there
    is nothing to compare.

    :param detect: list of B RGB images -> (B, K, 3) u, v in px and confidence
    :param images: a fair draw of the recording's images, of :func:`shrink`
    :param frames: the number of each image's frame in the recording
    :param stamps_ns: stamps of all frames of the recording in recorded order, (N,) ns
    """
    alike = [i for i, image in enumerate(images) if image.shape == images[0].shape]
    images = [images[i] for i in alike]
    episodes = find_episodes(stamps_ns)[[frames[i] for i in alike]]
    medians = _medians(images, episodes)
    others = dict(zip(medians, [*list(medians)[1:], *list(medians)[:1]], strict=True))
    errors: list[float] = []
    known = np.flatnonzero(np.isin(episodes, list(medians)))
    for i in evenly_spaced(known, ASKED) if len(medians) > 1 else []:
        mask = _in_front(images[i], medians[episodes[i]])
        if mask.mean() > LARGEST_SHARE:
            continue
        put = np.where(mask[..., None], images[i], medians[others[episodes[i]]])
        own, other = np.asarray(detect([images[i], put]))[..., :2]
        distance = np.linalg.norm(other - own, axis=-1)[_lies_on(own, mask)]
        errors += list(100 * distance / diagonal_px(*mask.shape))
    return BackgroundError(float(np.mean(errors)) if errors else float('nan'), len(errors))


def _medians(images: list[np.ndarray], episodes: np.ndarray) -> dict[int, np.ndarray]:
    """Return the background of each episode that has enough images."""
    medians = {}
    for episode in np.unique(episodes):
        mine = [images[i] for i in np.flatnonzero(episodes == episode)]
        if len(mine) >= LEAST_FRAMES:
            medians[episode] = np.median(mine, axis=0).astype(np.uint8)
    return medians


def _in_front(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return the pixels in front of a background and near them, (H, W) bool."""
    difference = np.abs(image.astype(np.float32) - background).mean(axis=-1)
    mask = (cv2.blur(difference, (3, 3)) > DIFFERS).astype(np.uint8)
    reach = 2 * max(1, round(MARGIN * max(mask.shape))) + 1
    return cv2.dilate(mask, np.ones((reach, reach), np.uint8)).astype(bool)


def _lies_on(uv: np.ndarray, mask: np.ndarray) -> np.ndarray:
    limit = np.array([mask.shape[1], mask.shape[0]]) - 1
    column, row = np.clip(np.rint(uv), 0, limit).astype(int).T
    return mask[row, column]
