"""
Where each frame of a camera was taken: its homography to a reference frame.

What most of the picture does is the motion of the camera; what does something else moves in the
world. Frames are registered one after another, each to a *keyframe* rather than to the last frame,
so that errors do not add up over time:

- The start is where the last frame was; only if this explains little of the texture, the motion of
  corners since then is tried. A scene that stays as it is wins over an object that moves.
- Where less than :data:`LEAST_VIEW` of the keyframe's texture is in view, or less than
  :data:`GOOD` of it is explained (another side of things is seen, or they are closer), the frame
  is registered to the earlier keyframe that shows most of the same, or else to the last frame,
  which becomes a keyframe. So the errors of a camera that pans to and fro do not add up either.
- A frame that can be registered to none of them begins a new *segment*: the video was cut.

The camera moves in a frame if, compared with the keyframe, little is where it was, the homography
explains more, over more of the picture than a single object covers, and the frame is elsewhere
than some time before or after (a camera that was pushed rests before and after). A conveyor belt
before a still camera is no motion of the camera: its frame stays.

:mod:`.image_alignment` has the method; parallax is what no homography explains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
from keypoint_perception.geometry.image_alignment import (
    align,
    Alignment,
    corner_motion,
    displacement_px,
    gained_tiles,
    has_texture,
    is_plausible,
    Keyframe,
    local_contrast,
    make_keyframe,
    quality,
    TILES,
    transform,
)
import numpy as np

# Long side that frames are compared at, px.
LONG_SIDE = 160
# Share of a keyframe's texture that must be in view, and from which another keyframe is better.
LEAST_VIEW, BETTER_VIEW = 0.6, 0.7
# Share of the texture in view that is explained: as it should be, and at least. Images of other
# places explain about a third of each other's texture.
GOOD, LEAST = 0.6, 0.45
# The picture is displaced if less than MOST_STILL is where it was, the homography explains more of
# it by GAIN, in this share of its tiles; it moves if it is elsewhere by so much some time before
# and after, px.
MOST_STILL, GAIN, LEAST_TILES, LEAST_MOTION_PX = 0.55, 0.15, 0.3, 0.5
# Another start must explain so much more.
MORE = 0.05
# Earlier keyframes that a frame is compared with, at most.
TRIED = 1


class FramePose(NamedTuple):
    """
    Where a frame was taken.

    :param homography: from pixels of the frame to pixels of the first frame of its segment, (3, 3)
    :param segment: counted from 0; frames of different segments cannot be registered
    :param keyframe: of the segment, counted from 0 in the recording
    :param explained: share of the texture in view that the homography explains
    :param residual_px: median displacement that is left where it does
    :param displaced: whether the picture as a whole is displaced against the keyframe
    """

    homography: np.ndarray
    segment: int
    keyframe: int
    explained: float
    residual_px: float
    displaced: bool


class _Placed(NamedTuple):
    """A keyframe, its number, and the homography from it to the segment's first frame."""

    keyframe: Keyframe
    number: int
    to_reference: np.ndarray


class CameraTracker:
    """Registers the frames of one camera, which are added in the order of their stamps."""

    def __init__(self) -> None:
        self._placed: list[_Placed] = []  # of the current segment
        self._count, self._segment = 0, -1
        self._last = np.zeros((0, 0), np.uint8)
        self._last_contrast = np.zeros((0, 0), np.float32)
        self._last_to_reference = np.eye(3)
        self._velocity = np.eye(3)
        self._current: _Placed | None = None
        self._scale = 1.0

    def add(self, image: np.ndarray) -> FramePose:
        """Register the next frame, (H, W, 3) RGB or (H, W) uint8."""
        grey, self._scale = working_image(image)
        contrast = local_contrast(grey)
        found = None
        if self._current is not None and grey.shape == self._last.shape:
            moved: list[np.ndarray | None] = []
            found = self._against(self._current, grey, contrast, moved)
            if found[1].view < LEAST_VIEW or found[1].explained < GOOD:
                found = self._with_other_keyframe(found, grey, contrast, moved)
        if found is None or found[1].explained < LEAST:
            self._segment += 1
            self._placed = []
            current = self._place(contrast, np.eye(3))
            found = current, Alignment(np.eye(3), 1.0, 1.0, 0.0)
            self._last_to_reference = np.eye(3)
        self._current, fitted = found
        self._last, self._last_contrast = grey, contrast
        to_reference = self._current.to_reference @ np.linalg.inv(fitted.homography)
        if not has_texture(self._current.keyframe):
            self._current = self._place(contrast, to_reference)
        # from the last frame to this one
        self._velocity = np.linalg.inv(to_reference) @ self._last_to_reference
        self._last_to_reference = to_reference
        return self._pose(fitted, contrast)

    def _place(self, contrast: np.ndarray, to_reference: np.ndarray) -> _Placed:
        placed = _Placed(make_keyframe(contrast), self._count, to_reference)
        self._count += 1
        self._placed.append(placed)
        return placed

    def _against(
        self,
        placed: _Placed,
        grey: np.ndarray,
        contrast: np.ndarray,
        moved: list[np.ndarray | None],
    ) -> tuple[_Placed, Alignment]:
        """
        Return the alignment of a frame with a keyframe.

        :param moved: the motion of corners since the last frame, computed on first use
        """
        start = np.linalg.inv(self._last_to_reference) @ placed.to_reference
        # where the last frame was, or moving on like it
        starts = [start, self._velocity @ start]
        starts.sort(key=lambda s: -quality(placed.keyframe, contrast, s).explained)
        fitted = align(placed.keyframe, contrast, starts[0])
        if fitted.explained < GOOD:
            if not moved:
                moved.append(corner_motion(self._last, grey))
            if moved[0] is not None:
                other = align(placed.keyframe, contrast, moved[0] @ start)
                if other.explained > fitted.explained + MORE:
                    fitted = other
        return placed, fitted

    def _with_other_keyframe(
        self,
        found: tuple[_Placed, Alignment],
        grey: np.ndarray,
        contrast: np.ndarray,
        moved: list[np.ndarray | None],
    ) -> tuple[_Placed, Alignment]:
        """Return the alignment with an earlier keyframe or with the last frame, if better."""
        to_reference = self._last_to_reference
        if found[1].explained >= LEAST:
            to_reference = found[0].to_reference @ np.linalg.inv(found[1].homography)
        others = [
            (in_view(p.keyframe, np.linalg.inv(to_reference) @ p.to_reference), p)
            for p in self._placed
            if p is not found[0]
        ]
        others.sort(key=lambda item: -item[0])
        for view, placed in others[:TRIED]:
            if view > BETTER_VIEW:
                again = self._against(placed, grey, contrast, moved)
                if again[1].view >= BETTER_VIEW and again[1].explained >= GOOD:
                    return again
        last = self._place(self._last_contrast, self._last_to_reference)
        again = self._against(last, grey, contrast, moved)
        if found[1].view < LEAST_VIEW or again[1].explained > found[1].explained:
            return again
        self._placed.pop()
        return found

    def _pose(self, fitted: Alignment, contrast: np.ndarray) -> FramePose:
        assert self._current is not None
        displaced = is_displaced(self._current.keyframe, contrast, fitted)
        shrink = to_working_size(self._scale)
        homography = np.linalg.inv(shrink) @ self._last_to_reference @ shrink
        homography = homography / homography[2, 2]
        residual = fitted.residual_px / self._scale
        number = self._current.number
        explained = fitted.explained
        return FramePose(homography, self._segment, number, explained, residual, displaced)


def is_displaced(keyframe: Keyframe, contrast: np.ndarray, fitted: Alignment) -> bool:
    """Return whether an image is displaced as a whole, and not only an object in it."""
    if not has_texture(keyframe):
        return False
    still = quality(keyframe, contrast, np.eye(3)).explained
    if still > MOST_STILL or fitted.explained < still + GAIN:
        return False
    return gained_tiles(keyframe, contrast, fitted.homography) >= LEAST_TILES * TILES**2


def moving_frames(poses: Sequence[FramePose], hw: tuple[int, ...], lag: int) -> np.ndarray:
    """
    Return in which frames the camera moves, (N,) bool.

    :param poses: of consecutive frames, whose height and width are ``hw``
    :param lag: a camera that is where it was so many frames ago, or will be so many later, rests
    """
    moves = np.zeros(len(poses), bool)
    for i, pose in enumerate(poses):
        if pose.displaced:
            moves[i] = all(
                other.segment != pose.segment or relative_px(other, pose, hw) > LEAST_MOTION_PX
                for other in (poses[max(0, i - lag)], poses[min(len(poses) - 1, i + lag)])
                if other is not pose
            )
    return moves


def relative_px(pose: FramePose, other: FramePose, hw: tuple[int, ...]) -> float:
    """Return by how much the corners of a frame move from one pose to another, px."""
    between: np.ndarray = np.linalg.inv(other.homography) @ pose.homography
    return displacement_px(between, hw) if is_plausible(between, hw) else float('inf')


def working_image(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return an image in grey at the working size, and its scale."""
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, LONG_SIDE / max(grey.shape))
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in grey.shape)
        grey = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return grey, scale


def to_working_size(scale: float) -> np.ndarray:
    """Return the map from pixels of an image to those of the shrunk one, (3, 3)."""
    offset = (scale - 1) / 2
    return np.array([[scale, 0, offset], [0, scale, offset], [0, 0, 1.0]])


def in_view(keyframe: Keyframe, homography: np.ndarray) -> float:
    """Return the share of a keyframe's texture that a frame shows, 0 if it has none."""
    if not len(keyframe.points):
        return 0.0
    height, width = keyframe.hw
    xy = transform(homography, keyframe.points)
    return float(((xy >= 1) & (xy <= (width - 2, height - 2))).all(axis=1).mean())
