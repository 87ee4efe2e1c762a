"""
The transforms of a recording, by the rules of tf2.

Between two transforms of a frame, the translation is interpolated linearly and the rotation along
the shorter arc; nothing is extrapolated; static transforms hold at all times. Unlike in tf2, a
frame with two parents is refused instead of jumping between them, and so are times between two
transforms that are more than a second apart.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
import math

from keypoint_perception.errors import SourceError
from keypoint_perception.robot.rigid_transforms import from_quaternion, inverse, slerp
from keypoint_perception.robot.robot_description import quoted
from keypoint_perception.robot.robot_messages import StampedTransform
import numpy as np

LONGEST_GAP_NS = 1_000_000_000
UNIT_TOLERANCE = 0.1  # of a quaternion's length; tf2 refuses one that is further off


class FramePoses:
    """A frame's poses in its parent over time."""

    def __init__(self, parent: str) -> None:
        self.parents = {parent: None}
        self.stamps = array('q')
        self.values = array('d')  # translation and quaternion, seven numbers a pose
        self.static: np.ndarray | None = None

    def at(self, times_ns: np.ndarray) -> np.ndarray:
        """Return the transforms (N, 4, 4), NaN where there is none."""
        if self.static is not None:
            return np.broadcast_to(self.static, (len(times_ns), 4, 4))
        stamps = np.frombuffer(self.stamps, np.int64)
        order = np.argsort(stamps, kind='stable')
        stamps = stamps[order]
        values = np.frombuffer(self.values, np.float64).reshape(-1, 7)[order]
        after = np.searchsorted(stamps, times_ns, side='left')
        inside = after < len(stamps)
        after = np.minimum(after, len(stamps) - 1)
        before = np.where(stamps[after] == times_ns, after, np.maximum(after - 1, 0))
        gap = stamps[after] - stamps[before]
        share = (times_ns - stamps[before]) / np.maximum(gap, 1)
        valid = inside & (times_ns >= stamps[0]) & (gap <= LONGEST_GAP_NS)
        first, second = values[before], values[after]
        translation = first[:, :3] + share[:, None] * (second[:, :3] - first[:, :3])
        result = from_quaternion(translation, slerp(first[:, 3:], second[:, 3:], share))
        result[~valid] = np.nan
        return result


class TransformTree:
    """
    Frames and their parents.

    :ivar unusable: transforms that were skipped: NaN, no unit quaternion, or in themselves
    """

    def __init__(self) -> None:
        self._frames: dict[str, FramePoses] = {}
        self.unusable = 0

    def add(self, transform: StampedTransform, stamp_ns: int, *, static: bool) -> None:
        """Keep a transform."""
        parent, child = bare_name(transform.header.frame_id), bare_name(transform.child_frame_id)
        numbers = (*transform.translation, *transform.rotation)
        length = math.hypot(*transform.rotation)
        if not all(map(math.isfinite, numbers)) or abs(length - 1) > UNIT_TOLERANCE:
            self.unusable += 1
            return
        if not parent or not child or parent == child:
            self.unusable += 1
            return
        pose = (*transform.translation, *(value / length for value in transform.rotation))
        frame = self._frames.setdefault(child, FramePoses(parent))
        frame.parents[parent] = None
        if static:
            frame.static = from_quaternion(np.array(pose[:3]), np.array(pose[3:]))
        else:
            frame.stamps.append(stamp_ns)
            frame.values.extend(pose)

    def place(self, child: str, parent: str, transform: np.ndarray) -> None:
        """Fix a frame in a parent, (4, 4) m, whatever the recording says of it."""
        self._frames[bare_name(child)] = frame = FramePoses(bare_name(parent))
        frame.static = transform

    def drop(self, frames: Iterable[str]) -> None:
        """Forget where frames are, as of links that kinematics place."""
        for frame in frames:
            self._frames.pop(bare_name(frame), None)

    def __contains__(self, frame: str) -> bool:
        name = bare_name(frame)
        return name in self._frames or any(name in f.parents for f in self._frames.values())

    @property
    def frames(self) -> tuple[str, ...]:
        """Return the names of all frames."""
        names = dict.fromkeys(self._frames)
        for frame in self._frames.values():
            names.update(frame.parents)
        return tuple(names)

    def ancestors(self, frame: str) -> list[str]:
        """
        Return a frame and those above it, up to the root.

        :raises SourceError: if one has two parents, or is above itself
        """
        found = [bare_name(frame)]
        while (poses := self._frames.get(found[-1])) is not None:
            if len(poses.parents) > 1:
                msg = (
                    f'Frame {found[-1]!r} has {len(poses.parents)} parents on tf '
                    f'({quoted(poses.parents)}), expected one; stop all but one of its '
                    'publishers, or give the pose of the camera with --camera.'
                )
                raise SourceError(msg)
            (parent,) = poses.parents
            if parent in found:
                msg = (
                    f'The frames on tf form a loop ({quoted([*found, parent])}), expected a tree; '
                    'correct their publishers, or give the pose of the camera with --camera.'
                )
                raise SourceError(msg)
            found.append(parent)
        return found

    def connected(self, first: str, second: str) -> bool:
        """Return whether a chain of transforms leads from one frame to another."""
        return self.ancestors(first)[-1] == self.ancestors(second)[-1]

    def lookup(self, target: str, source: str, times_ns: np.ndarray) -> np.ndarray:
        """
        Return the transforms that take coordinates in a source frame to a target frame.

        :param times_ns: (N,) int64
        :return: (N, 4, 4) m, NaN at times that a transform of the chain does not cover
        :raises SourceError: if the chain is broken, or a frame in it has two parents
        """
        up_target, up_source = self.ancestors(target), self.ancestors(source)
        if up_target[-1] != up_source[-1]:
            msg = (
                f'The tf chain from {source!r} to {target!r} is broken: {source!r} ends at '
                f'{up_source[-1]!r} and {target!r} at {up_target[-1]!r}; record the missing '
                'transform (/tf and /tf_static), or give the pose of the camera with --camera.'
            )
            raise SourceError(msg)
        common = next(frame for frame in up_source if frame in up_target)
        below = self._climb(up_target[: up_target.index(common)], times_ns)
        above = self._climb(up_source[: up_source.index(common)], times_ns)
        result: np.ndarray = inverse(below) @ above
        return result

    def _climb(self, frames: list[str], times_ns: np.ndarray) -> np.ndarray:
        """Return the transforms from the first of some frames to the parent of the last."""
        result = np.broadcast_to(np.eye(4), (len(times_ns), 4, 4))
        for frame in frames:
            result = self._frames[frame].at(times_ns) @ result
        return result


def bare_name(frame: str) -> str:
    """Return a frame's name without the leading slash of ROS 1."""
    return frame.removeprefix('/')
