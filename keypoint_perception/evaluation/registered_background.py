"""
What moves in the world in a frame, by the background of other frames that are registered to it.

The background B of a frame I is the median of other frames, warped. What differs from it by more
than noise moves::

    R = max(0, I - largest of B nearby, smallest of B nearby - I)

Nearby means within a pixel, which is what registration, shake and interpolation may be off at
edges. A difference of brightness of the whole frame is removed before. R counts if it exceeds
:data:`LEAST_LEVELS` grey levels and :data:`DEVIATIONS` deviations of the frame from B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
from keypoint_perception.geometry.camera_motion import FramePose, relative_px
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Grey levels, and robust standard deviations, by which what moves differs from the background.
LEAST_LEVELS, DEVIATIONS = 8.0, 5.0
# Frames that are compared with each frame, of which a median is computed, and that it needs.
CANDIDATES, MEDIAN_FRAMES, LEAST_FRAMES = 30, 15, 5
# Frames are registered well if they differ by ALIKE_LEVELS in at most this share of the picture.
ALIKE_LEVELS, MOST_DIFFERENT = 12.0, 0.3
# Grey level of pixels outside of an image, negative even where it is mixed with others.
OUTSIDE = -1e4


class RegisteredFrame(NamedTuple):
    """
    A frame at the working size.

    :param number: in the recording, from 0
    :param uv: keypoints, (K, 2) working px
    """

    number: int
    grey: np.ndarray
    uv: np.ndarray
    pose: FramePose


def moving_pixels(
    frame: RegisteredFrame, groups: Sequence[Sequence[RegisteredFrame]], *, check: bool
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return which pixels of a frame move in the world, and of which this can be told, (h, w).

    :param groups: frames of which a background is computed, each
    :param check: whether to leave out frames that are not registered well
    """
    moving, known = np.zeros((2, *frame.grey.shape), bool)
    for others in groups:
        background, covered = _background(frame, others, check=check)
        if covered.any():
            moving |= _differs(frame.grey, background, covered)
            known |= covered
    return moving, known


def _background(
    frame: RegisteredFrame, others: Sequence[RegisteredFrame], *, check: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return the median of other frames in the pixels of a frame, and where there are enough."""
    height, width = frame.grey.shape
    others = [other for other in others if other.pose.segment == frame.pose.segment]
    seen = []
    for i in evenly_spaced(np.arange(len(others)), CANDIDATES if check else MEDIAN_FRAMES):
        pose = others[i].pose
        if relative_px(pose, frame.pose, (height, width)) < width / 2:
            to_frame = np.linalg.inv(frame.pose.homography) @ pose.homography
            grey = others[i].grey.astype(np.float32)
            view = cv2.warpPerspective(grey, to_frame, (width, height), borderValue=OUTSIDE)
            if not check or _is_alike(frame.grey, view):
                seen.append(view)
    if len(seen) < LEAST_FRAMES:
        return np.zeros((height, width), np.float32), np.zeros((height, width), bool)
    # what lies outside of other frames comes first
    ordered = np.sort(evenly_spaced(np.stack(seen), MEDIAN_FRAMES), axis=0)
    outside = (ordered < 0).sum(axis=0)
    middle = np.minimum((outside + len(ordered)) // 2, len(ordered) - 1)
    median = np.take_along_axis(ordered, middle[None], axis=0)[0]
    return median, len(ordered) - outside >= LEAST_FRAMES


def _is_alike(grey: np.ndarray, view: np.ndarray) -> bool:
    """Return whether another frame, warped, mostly shows the same as a frame."""
    inside = view >= 0
    if inside.mean() < MOST_DIFFERENT:
        return False
    return float((_residual(grey, view, inside) > ALIKE_LEVELS)[inside].mean()) <= MOST_DIFFERENT


def _differs(grey: np.ndarray, background: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Return where a frame differs from its background by more than noise, (h, w) bool."""
    difference = (grey - background)[covered]
    deviation = 1.4826 * float(np.median(np.abs(difference - np.median(difference))))
    limit = max(LEAST_LEVELS, DEVIATIONS * deviation)
    return np.asarray((_residual(grey, background, covered) > limit) & covered)


def _residual(grey: np.ndarray, background: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Return the difference from all pixels of the background nearby, (h, w) grey levels."""
    image, background = (cv2.blur(i.astype(np.float32), (3, 3)) for i in (grey, background))
    image = image - np.median((image - background)[covered])
    nearby = np.ones((3, 3), np.uint8)
    above = image - cv2.dilate(background, nearby)
    below = cv2.erode(background, nearby) - image
    return np.asarray(np.maximum(np.maximum(above, below), 0))
