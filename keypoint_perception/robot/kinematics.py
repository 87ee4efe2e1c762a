"""Forward kinematics: where the links are, for all times at once."""

from __future__ import annotations

from collections.abc import Mapping

from keypoint_perception.robot.rigid_transforms import from_axis_angle, from_rotation
from keypoint_perception.robot.robot_description import RobotDescription, RobotJoint
import numpy as np


def place_links(
    robot: RobotDescription, positions: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """
    Return where links are in the frame of the root link, (N, 4, 4) m, parents first.

    A joint that mimics another follows it unless it has positions of its own, which were measured.
    Links after a joint whose position is not given are left out.

    :param positions: of joints by name, (N,) rad or m each; may be NaN
    """
    count = len(next(iter(positions.values()), np.zeros(1)))
    placed = {robot.root: np.broadcast_to(np.eye(4), (count, 4, 4))}
    for joint in robot.joints:
        if joint.parent not in placed:
            continue
        base = placed[joint.parent] @ joint.origin
        if joint.kind == 'fixed':
            placed[joint.child] = base
        elif (position := joint_position(robot, joint, positions)) is not None:
            placed[joint.child] = base @ _motion(joint, position)
    return placed


def joint_position(
    robot: RobotDescription, joint: RobotJoint, positions: Mapping[str, np.ndarray]
) -> np.ndarray | None:
    """Return the positions (N,) of a joint, measured or by mimicking, None if they are unknown."""
    if joint.name in positions:
        return positions[joint.name]
    multiplier, offset = 1.0, 0.0
    while joint.mimic is not None:
        offset += multiplier * joint.mimic.offset
        multiplier *= joint.mimic.multiplier
        joint = robot.joint_of[joint.mimic.joint]
        if joint.name in positions:
            return multiplier * positions[joint.name] + offset
    return None


def _motion(joint: RobotJoint, position: np.ndarray) -> np.ndarray:
    if joint.kind == 'prismatic':
        return from_rotation(np.eye(3), position[:, None] * joint.axis)
    return from_rotation(from_axis_angle(joint.axis, position), np.zeros(3))
