"""
Whether a camera moves in a recording, how, and where its view changes at once.

Windows of consecutive frames are tried first. If the camera moves in none of them, it stands
still, and only jumps are searched for: places where the view before and the view after stay as
they are and differ (somebody pushed the camera; the video was cut). They are found by comparing
frames a second apart and bisecting. If it moves, all frames are registered
(:mod:`.camera_motion`), and jumps are where that fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from keypoint_perception.geometry.camera_motion import (
    CameraTracker,
    FramePose,
    GOOD,
    moving_frames,
    relative_px,
    working_image,
)
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

# Windows that are tried, their length, and the time between two of their frames, s.
WINDOWS, WINDOW_FRAMES, WINDOW_STEP_S = 8, 24, 0.1
# The camera moves if it does in this share of these frames.
LEAST_MOVING = 0.1
# Jumps of a still camera: time between the frames that are compared first, s, the most of them,
# and the share of the texture that differs then.
SEARCH_STEP_S, MOST_SEARCHED, CHANGED = 1.0, 400, 0.6
# The least jump that is one, px.
LEAST_JUMP_PX = 1.0
# Frames cannot be registered if they fall into more segments than this share of their number.
MOST_SEGMENTS = 0.05

# With parallax, keyframes last for less than this, s, and explain less of the texture.
BRIEF_KEYFRAME_S, LITTLE_EXPLAINED = 1.0, 0.8

Images = Callable[[int], np.ndarray]


class Jump(NamedTuple):
    """
    A place where the view changes at once.

    :param frame: the first frame after it
    :param px: by how much the picture is displaced; infinite if nothing is recognised
    """

    frame: int
    px: float


@dataclass
class CameraSurvey:
    """
    How a camera moves.

    :ivar homography: from pixels of each frame to those of the first frame of its segment,
        (N, 3, 3); the identity where the camera stands still
    :ivar segment: frames that are registered to each other, or taken from one place, (N,) int
    :ivar keyframe: whose surroundings each frame shows, (N,) int
    :ivar explained: share of the texture that the homography explains, (N,)
    :ivar residual_px: displacement that is left, (N,)
    :ivar range_px: how far the picture is displaced at most
    :ivar speed_px: how far it is displaced within a second, the 90th percentile
    :ivar keyframe_s: how long a keyframe lasts, the mean
    :ivar moves: whether the camera moves, and frames are registered
    :ivar unregistered: whether frames cannot be registered although the picture moves
    """

    homography: np.ndarray
    segment: np.ndarray
    keyframe: np.ndarray
    explained: np.ndarray
    residual_px: np.ndarray
    jumps: list[Jump] = field(default_factory=list)
    range_px: float = 0.0
    speed_px: float = 0.0
    keyframe_s: float = 0.0
    moves: bool = False
    unregistered: bool = False

    @property
    def parallax(self) -> bool:
        """Whether things at rest are displaced against each other, in depth."""
        brief = self.keyframe_s < BRIEF_KEYFRAME_S
        return self.moves and brief and self.explained.mean() < LITTLE_EXPLAINED


def survey_camera(
    images: Images, stamps_ns: np.ndarray, episodes: np.ndarray, moves: bool | None = None
) -> CameraSurvey:
    """
    Find out how one camera moves.

    :param images: returns a frame by its index, (H, W, 3) uint8
    :param stamps_ns: of its frames, (N,) int64
    :param episodes: of its frames, (N,) int, within which it may be registered
    :param moves: whether the camera moves; None = find out
    """
    clips = [
        members[np.argsort(stamps_ns[members], kind='stable')]
        for members in (np.flatnonzero(episodes == number) for number in np.unique(episodes))
    ]
    count = len(stamps_ns)
    found = CameraSurvey(
        np.tile(np.eye(3), (count, 1, 1)),
        np.zeros(count, np.int64),
        np.zeros(count, np.int64),
        np.ones(count),
        np.zeros(count),
    )
    if moves or (moves is None and keeps_moving(images, stamps_ns, clips)):
        _register(found, images, stamps_ns, clips)
    if not found.moves:
        for number, clip in enumerate(clips):
            jumps = find_jumps(images, stamps_ns, clip)
            found.jumps += jumps
            starts = np.isin(clip, [jump.frame for jump in jumps])
            first = int(found.segment.max()) + 1 if number else 0
            found.segment[clip] = first + np.cumsum(starts)
    return found


def keeps_moving(images: Images, stamps_ns: np.ndarray, clips: list[np.ndarray]) -> bool:
    """Return whether a camera moves in some windows of its clips, each (n,) indices in order."""
    windows = [
        window for clip in clips for window in _windows(clip, stamps_ns, -(-WINDOWS // len(clips)))
    ]
    moving = np.zeros(0, bool)
    for window in evenly_spaced(np.arange(len(windows)), WINDOWS):
        tracker = CameraTracker()
        frames = [images(int(index)) for index in windows[window]]
        poses = [tracker.add(frame) for frame in frames]
        moves = moving_frames(poses, frames[0].shape[:2], max(1, len(frames) // 2))
        moving = np.concatenate([moving, moves])
    return bool(len(moving) and moving.mean() >= LEAST_MOVING)


def _windows(clip: np.ndarray, stamps_ns: np.ndarray, count: int) -> list[np.ndarray]:
    """Return evenly spaced windows of a clip, each with some frames, about 0.1 s apart."""
    step = max(1, round(WINDOW_STEP_S / _period_s(clip, stamps_ns)))
    step = min(step, max(1, len(clip) // WINDOW_FRAMES))
    length = min(len(clip), step * WINDOW_FRAMES)
    starts = np.linspace(0, len(clip) - length, min(count, max(1, len(clip) // length)))
    return [clip[start : start + length : step] for start in starts.round().astype(int)]


def _period_s(clip: np.ndarray, stamps_ns: np.ndarray) -> float:
    period = float(np.median(np.diff(stamps_ns[clip]))) / 1e9 if len(clip) > 1 else 1.0
    return max(period, 1e-6)


def _register(
    found: CameraSurvey, images: Images, stamps_ns: np.ndarray, clips: list[np.ndarray]
) -> None:
    """Register all frames of some clips."""
    segments, keyframes, seconds = 0, 0, 0.0
    ranges, speeds = [0.0], [0.0]
    jumps: list[Jump] = []
    for clip in clips:
        tracker = CameraTracker()
        poses = [tracker.add(images(int(index))) for index in clip]
        numbers = np.array([pose.segment for pose in poses])
        starts = np.flatnonzero(np.diff(numbers)) + 1
        jumps += [Jump(int(clip[start]), float('inf')) for start in starts]
        found.homography[clip] = [pose.homography for pose in poses]
        found.segment[clip] = segments + numbers
        found.keyframe[clip] = keyframes + np.array([pose.keyframe for pose in poses])
        found.explained[clip] = [pose.explained for pose in poses]
        found.residual_px[clip] = [pose.residual_px for pose in poses]
        segments += poses[-1].segment + 1
        keyframes += poses[-1].keyframe + 1
        seconds += len(clip) * _period_s(clip, stamps_ns)
        hw = images(int(clip[0])).shape[:2]
        lag = max(1, round(1 / _period_s(clip, stamps_ns)))
        ranges += displacements_px(poses, hw, len(poses))
        speeds += displacements_px(poses, hw, lag)
    if segments - len(clips) > MOST_SEGMENTS * len(stamps_ns):
        found.unregistered = True
        found.homography[:] = np.eye(3)
        found.segment[:], found.keyframe[:], found.residual_px[:] = 0, 0, 0.0
        return
    found.moves, found.jumps, found.keyframe_s = True, jumps, seconds / keyframes
    finite = [value for value in ranges if np.isfinite(value)]
    found.range_px = float(max(finite))
    found.speed_px = float(np.percentile([v for v in speeds if np.isfinite(v)], 90))


def displacements_px(poses: list[FramePose], hw: tuple[int, ...], lag: int) -> list[float]:
    """Return how far frames are displaced against those some time before, in their segment."""
    return [
        relative_px(poses[max(0, i - lag)], pose, hw)
        for i, pose in enumerate(poses)
        if poses[max(0, i - lag)].segment == pose.segment
    ]


def find_jumps(images: Images, stamps_ns: np.ndarray, clip: np.ndarray) -> list[Jump]:
    """
    Return where the view of a camera that stands still changes, in order.

    :param clip: indices of frames in the order of their stamps
    """
    step = max(1, round(SEARCH_STEP_S / _period_s(clip, stamps_ns)))
    samples = evenly_spaced(np.arange(len(clip)), min(MOST_SEARCHED, len(clip) // step + 2))
    view = _Views(images, clip)
    jumps = []
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
        px = view.displacement_px(before, after)
        if px >= LEAST_JUMP_PX:
            jumps.append(Jump(int(clip[place]), px))
    return jumps


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
