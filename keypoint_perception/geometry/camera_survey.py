"""
Whether a camera moves in a recording, how, and where its view changes at once.

Windows of consecutive frames are tried first. If the camera moves in none of them, it stands
still, or nothing rests in the picture, and only jumps are searched for (:mod:`.view_jumps`). If it
moves, all frames are registered (:mod:`.camera_motion`), and jumps are where that fails.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from keypoint_perception.geometry.camera_motion import (
    CameraTracker,
    FramePose,
    moving_frames,
    relative_px,
)
from keypoint_perception.geometry.view_jumps import find_jumps, Images, Jump, period_s
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Windows that are tried, their length, and the time between two of their frames, s.
WINDOWS, WINDOW_FRAMES, WINDOW_STEP_S = 8, 24, 0.1
# The camera moves if it does in this share of these frames.
LEAST_MOVING = 0.1
# Frames cannot be registered if they fall into more segments than this share of their number.
MOST_SEGMENTS = 0.05
# Nothing rests if the view changes in more of the steps than this, and does not rest around them.
RESTLESS = 0.5
# With parallax, keyframes last for less than this, s, and explain less of the texture.
BRIEF_KEYFRAME_S, LITTLE_EXPLAINED = 1.0, 0.8


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
    :ivar restless: whether nothing rests in the picture
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
    restless: bool = False

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
        restless, steps = 0, 0
        for number, clip in enumerate(clips):
            jumps, *counted = find_jumps(images, stamps_ns, clip)
            found.jumps += jumps
            restless, steps = restless + counted[0], steps + counted[1]
            starts = np.isin(clip, [jump.frame for jump in jumps])
            first = int(found.segment.max()) + 1 if number else 0
            found.segment[clip] = first + np.cumsum(starts)
        found.restless = moves is None and restless > RESTLESS * steps
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
    step = max(1, round(WINDOW_STEP_S / period_s(clip, stamps_ns)))
    step = min(step, max(1, len(clip) // WINDOW_FRAMES))
    length = min(len(clip), step * WINDOW_FRAMES)
    starts = np.linspace(0, len(clip) - length, min(count, max(1, len(clip) // length)))
    return [clip[start : start + length : step] for start in starts.round().astype(int)]


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
        seconds += len(clip) * period_s(clip, stamps_ns)
        hw = images(int(clip[0])).shape[:2]
        lag = max(1, round(1 / period_s(clip, stamps_ns)))
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
