"""
A camera's pose as a YAML file.

``frame_id`` is the parent (a link of the robot, or a frame that tf connects with one) and
``child_frame_id`` the optical frame: x right, y down, z forward. ``translation`` is x, y, z in m
and ``rotation`` the quaternion x, y, z, w: where the camera is, seen from the parent.
``stamp_delay_s``, if given, is the stamp of an image minus the moment that it shows on the joints'
clock. Further keys are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

from keypoint_perception.errors import ConfigError
from keypoint_perception.robot.rigid_transforms import from_quaternion
from keypoint_perception.yaml_files import read_yaml_file
import numpy as np

KEYS = 'frame_id, child_frame_id, translation: [x, y, z] and rotation: [x, y, z, w]'
UNIT_TOLERANCE = 1e-2  # of a quaternion's length


@dataclass(frozen=True)
class CameraPose:
    """
    Where a camera is.

    :param transform: from the optical frame to the parent, (4, 4) m
    :param stamp_delay_s: stamp of an image minus the moment that it shows; None if not known
    """

    frame_id: str
    child_frame_id: str
    transform: np.ndarray
    stamp_delay_s: float | None = None


def read_camera_pose(path: Path) -> CameraPose:
    """
    Read a camera's pose.

    :raises ConfigError: if the file cannot be read, or a value is missing or no such value
    """
    try:
        values = read_yaml_file(path)
        if not isinstance(values, dict):
            raise ValueError('it has no keys')
        frame, child = (values.get(name) for name in ('frame_id', 'child_frame_id'))
        if not (isinstance(frame, str) and isinstance(child, str) and frame and child):
            raise ValueError('frame_id or child_frame_id is missing')
        translation = numbers(values.get('translation'), 3, 'translation')
        rotation = numbers(values.get('rotation'), 4, 'rotation')
        length = math.hypot(*rotation)
        if abs(length - 1) > UNIT_TOLERANCE:
            raise ValueError(f'rotation has the length {length:.3g}, not 1')
        delay = values.get('stamp_delay_s')
        if delay is not None:
            (delay,) = numbers([delay], 1, 'stamp_delay_s')
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        msg = f'Camera pose {str(path)!r} cannot be used ({reason}); expected {KEYS}.'
        raise ConfigError(msg) from error
    transform = from_quaternion(np.array(translation), np.array(rotation) / length)
    return CameraPose(frame, child, transform, delay)


def numbers(value: Any, count: int, name: str) -> list[float]:
    """
    Return the numbers of a list in a YAML file.

    :raises ValueError: if they are not so many finite numbers; the message is a reason
    """
    given = value if isinstance(value, list) else []
    if len(given) != count or any(
        isinstance(each, bool) or not isinstance(each, int | float) or not math.isfinite(each)
        for each in given
    ):
        raise ValueError(f'{name} is {str(value)[:60]}, not {count} numbers')
    return [float(each) for each in given]
