"""
Where the view of a camera that stands still changes at once.

A jump is where the view before and the view after stay as they are and differ: somebody pushed the
camera, or the video was cut. Frames a second apart are compared, and the place is found by
bisecting. If the view does not rest before and after a place, the picture keeps changing there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from keypoint_perception.geometry.camera_motion import GOOD, working_image
from keypoint_perception.geometry.image_alignment import (
    align,
    corner_motion,
    displacement_px,
    has_texture,
    local_contrast,
    make_keyframe,
    quality,
)
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Time between the frames that are compared first, s, the most of them, and the share of the
# texture that differs where the view changes.
SEARCH_STEP_S, MOST_SEARCHED, CHANGED = 1.0, 400, 0.6
# The least jump that is one, px, and how long the view rests before and after it, s.
LEAST_JUMP_PX, REST_S = 1.0, 0.25

Images = Callable[[int], np.ndarray]


class Jump(NamedTuple):
    """
    A place where the view changes at once.

    :param frame: the first frame after it
    :param px: by how much the picture is displaced; infinite if nothing is recognised
    """

    frame: int
    px: float


def period_s(clip: np.ndarray, stamps_ns: np.ndarray) -> float:
    """Return the usual time between the frames of a clip, indices in order, s."""
    period = float(np.median(np.diff(stamps_ns[clip]))) / 1e9 if len(clip) > 1 else 1.0
    return max(period, 1e-6)


def find_jumps(
    images: Images, stamps_ns: np.ndarray, clip: np.ndarray
) -> tuple[list[Jump], int, int]:
    """
    Return where the view of a camera that stands still changes, in order.

    :param clip: indices of frames in the order of their stamps
    :return: the jumps, the steps in which the view changes and does not rest around, and all steps
    """
    period = period_s(clip, stamps_ns)
    step, rest = (max(1, round(time_s / period)) for time_s in (SEARCH_STEP_S, REST_S))
    samples = evenly_spaced(np.arange(len(clip)), min(MOST_SEARCHED, len(clip) // step + 2))
    view = _Views(images, clip)
    jumps, restless = list[Jump](), 0
    for i in range(1, len(samples)):
        before, after = int(samples[i - 1]), int(samples[i])
        if view.likeness(before, after) >= 1 - CHANGED:
            continue
        # not if something passes by
        earlier = int(samples[max(0, i - 2)])
        later = int(samples[min(len(samples) - 1, i + 1)])
        if max(view.likeness(before, later), view.likeness(earlier, after)) >= 1 - CHANGED:
            continue
        place = view.bisect(before, after)
        if not view.rests_around(place, rest):
            restless += 1
            continue
        px = view.displacement_px(before, after)
        if px >= LEAST_JUMP_PX:
            jumps.append(Jump(int(clip[place]), px))
    return jumps, restless, len(samples) - 1


class _Views:
    """Compares frames of a clip, whose keyframes are kept while they are needed."""

    def __init__(self, images: Images, clip: np.ndarray) -> None:
        self._images, self._clip = images, clip

    def _grey(self, place: int) -> np.ndarray:
        return working_image(self._images(int(self._clip[place])))[0]

    def likeness(self, first: int, second: int) -> float:
        """Return the share of the first frame's texture that the second has at the same place."""
        one, other = self._grey(first), self._grey(second)
        keyframe = make_keyframe(local_contrast(one))
        if first == second or not has_texture(keyframe) or one.shape != other.shape:
            return float(one.shape == other.shape)
        return quality(keyframe, local_contrast(other), np.eye(3)).explained

    def bisect(self, before: int, after: int) -> int:
        """Return the first frame that is more like the later than like the earlier one."""
        low, high = before, after
        while high - low > 1:
            middle = (low + high) // 2
            if self.likeness(before, middle) >= self.likeness(middle, after):
                low = middle
            else:
                high = middle
        return high

    def rests_around(self, place: int, rest: int) -> bool:
        """Return whether the view stays as it is some frames before and after a place."""
        last = len(self._clip) - 1
        sides = (place - 2 * rest, place - rest), (place + rest, place + 2 * rest)
        return all(
            self.likeness(*(min(max(at, 0), last) for at in side)) >= 1 - CHANGED for side in sides
        )

    def displacement_px(self, before: int, after: int) -> float:
        """Return how far the picture is displaced, infinite if it is another one."""
        image = self._images(int(self._clip[before]))
        one, scale = working_image(image)
        other = self._grey(after)
        if one.shape != other.shape:
            return float('inf')
        keyframe, contrast = make_keyframe(local_contrast(one)), local_contrast(other)
        starts = [np.eye(3), corner_motion(one, other)]
        fitted = max(
            (align(keyframe, contrast, start) for start in starts if start is not None),
            key=lambda alignment: alignment.explained,
        )
        if fitted.explained < GOOD:
            return float('inf')
        return displacement_px(fitted.homography, one.shape) / scale
