"""
Whether the joint states of a recording are those of a robot: names, unit, limits and clock.

What makes labels wrong is refused; what leaves some out is told once.
"""

from __future__ import annotations

from collections.abc import Sequence
import logging
import math

from keypoint_perception.errors import SourceError
from keypoint_perception.robot.joint_states import JointStates
from keypoint_perception.robot.kinematics import place_links
from keypoint_perception.robot.robot_description import quoted, RobotDescription
import numpy as np

BEYOND_LIMIT = 0.5  # rad; drivers overstep limits by less
FEW = 0.05  # of the states of a joint
MINUTE_S = 60.0

log = logging.getLogger('keypoint_perception')


def match_joints(robot: RobotDescription, joints: JointStates, name: str) -> list[str]:
    """
    Return the joints of a robot whose positions a recording has.

    :param name: the recording's in messages
    :raises SourceError: if it has none of them, or they look like degrees
    """
    moving = {joint.name for joint in robot.moving}
    known = [joint for joint in joints.names if joint in moving]
    unknown = [joint for joint in joints.names if joint not in robot.joint_of]
    if not known:
        msg = (
            f'The joint states of {name!r} are of {quoted(joints.names)}, none of which moves in '
            f'the URDF of robot {robot.name!r} (it has {quoted(moving) or "none"}); give the '
            'URDF of the recorded robot with --urdf.'
        )
        raise SourceError(msg)
    if unknown:
        log.warning(
            '%d joints of %r are not in the URDF of robot %r and not used: %s.',
            *(len(unknown), name, robot.name, quoted(unknown)),
        )
    placed = place_links(robot, {joint: np.zeros(1) for joint in known})
    lost = [link for link in robot.links if link not in placed]
    if lost:
        missing = [j.name for j in robot.moving if j.parent in placed and j.child not in placed]
        log.warning(
            '%r has no joint states of %s, so %d links have no labels (%s); record these joints.',
            *(name, quoted(missing), len(lost), quoted(lost)),
        )
    _check_limits(robot, joints, known, name)
    return known


def check_clock(
    joints: JointStates, known: Sequence[str], times_ns: np.ndarray, name: str
) -> None:
    """
    Check that images and joint states were recorded at the same time by their stamps.

    :param times_ns: the moments that the images show, (N,)
    :raises SourceError: if they were not
    """
    first, last = joints.span_ns(known)
    start, end = int(times_ns.min()), int(times_ns.max())
    if start <= last and end >= first:
        return
    apart = (first - end if end < first else start - last) / 1e9
    distance = f'{apart / MINUTE_S:,.1f} minutes' if apart >= MINUTE_S else f'{apart:.3g} s'
    side = 'before the first' if end < first else 'after the last'
    msg = (
        f'The images of {name!r} and its joint states are stamped by two clocks: all images are '
        f'{distance} {side} joint state; synchronise the clocks and record again, or give the '
        'stamp of an image minus its moment on the clock of the joints with --delay.'
    )
    raise SourceError(msg)


def _check_limits(
    robot: RobotDescription, joints: JointStates, known: Sequence[str], name: str
) -> None:
    """Refuse degrees, and tell of joints that are beyond their limits."""
    beyond, fits = list[str](), True
    for each in known:
        joint = robot.joint_of[each]
        if joint.kind != 'revolute' or not math.isfinite(joint.upper - joint.lower):
            continue
        positions = joints.series(each)[1]
        low, high = joint.lower - BEYOND_LIMIT, joint.upper + BEYOND_LIMIT
        if np.mean((positions < low) | (positions > high)) > FEW:
            beyond.append(each)
        radians = np.radians(positions)
        fits = fits and bool(np.mean((radians < low) | (radians > high)) <= FEW)
    if not beyond:
        return
    joint = robot.joint_of[beyond[0]]
    positions = joints.series(joint.name)[1]
    largest = positions[np.abs(positions).argmax()]
    found = (
        f'joint {joint.name!r} of {name!r} reaches {largest:.4g}, its limits are '
        f'{joint.lower:.4g} to {joint.upper:.4g} rad'
    )
    if fits:
        msg = (
            f'The joint states look like degrees: {found}; expected radians, as '
            'sensor_msgs/JointState defines; correct the driver of the robot, or convert the bag.'
        )
        raise SourceError(msg)
    log.warning('Positions are beyond their limits: %s; check that it is its URDF.', found)
