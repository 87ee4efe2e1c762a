"""
Where the camera is in the robot's frame at every image: fixed beside it, or carried by a link.

The camera's frame is followed on tf upwards. If that leads to a link, kinematics place it, which
is as exact as the joint states; otherwise, tf has to connect the camera with the robot's base.
"""

from __future__ import annotations

from collections.abc import Mapping

from keypoint_perception.errors import SourceError
from keypoint_perception.robot.camera_pose import CameraPose
from keypoint_perception.robot.robot_description import quoted, RobotDescription
from keypoint_perception.robot.transform_tree import bare_name, TransformTree
import numpy as np


def optical_frame(tree: TransformTree, recorded: str, pose: CameraPose | None) -> str:
    """
    Return the camera's frame, after the given pose has been put into the tree.

    :param recorded: as camera_info has it; may be empty
    :param pose: what the user gives, which takes the place of the recorded one
    :raises SourceError: if nothing names the frame
    """
    if pose is not None:
        tree.place(pose.child_frame_id, pose.frame_id, pose.transform)
        if recorded in tree and tree.connected(recorded, pose.child_frame_id):
            return recorded
        return pose.child_frame_id
    if not recorded:
        msg = (
            'The camera_info has no frame_id, so tf cannot tell where the camera is; give its '
            'pose with --camera.'
        )
        raise SourceError(msg)
    return recorded


def check_camera_chain(
    robot: RobotDescription, tree: TransformTree, camera: str, pose: CameraPose | None = None
) -> str:
    """
    Return the link that carries the camera, or through which tf places it.

    :param camera: the optical frame
    :param pose: what the user gives
    :raises SourceError: if no chain of transforms leads from the camera to the robot, or a frame
        has two parents
    """
    if camera not in tree and camera not in robot.links:
        found = f'tf has {quoted(tree.frames)}' if tree.frames else 'no tf was recorded'
        msg = (
            f'The pose of the camera is unknown: frame {camera!r} is not on tf ({found}); give '
            'the pose with --camera, or record /tf and /tf_static with its publisher.'
        )
        raise SourceError(msg)
    way = tree.ancestors(camera)
    # what kinematics say of frames before the given pose does not count
    first = 0 if pose is None else way.index(bare_name(pose.frame_id))
    for frame in way[first:]:
        if frame in robot.links:
            return frame
    for link in robot.links:
        if link in tree and link not in way and tree.connected(link, camera):
            return link
    if pose is not None:
        msg = (
            f'Camera pose: frame_id {pose.frame_id!r} is neither a link of the robot nor '
            f'connected with one by tf (links: {quoted(robot.links)}); give the pose in a link.'
        )
    else:
        msg = (
            f'The tf chain from the camera {camera!r} to the robot is broken: it ends at '
            f'{way[-1]!r}, which no transform connects with a link ({quoted(robot.links)}); '
            'record the missing transform, or give the pose with --camera.'
        )
    raise SourceError(msg)


def camera_transforms(
    links: Mapping[str, np.ndarray],
    tree: TransformTree,
    camera: str,
    carrier: str,
    times_ns: np.ndarray,
) -> np.ndarray:
    """
    Return the transforms from the optical frame to the root link, (N, 4, 4) m.

    They are NaN at times that tf or the joint states do not cover.

    :param links: transforms of links
    :param carrier: what :func:`check_camera_chain` returned
    :raises SourceError: if the link that carries the camera has no joint states
    """
    if carrier not in links:
        msg = (
            f'The camera is on link {carrier!r}, which a joint without joint states moves; record '
            'all joints between it and the base.'
        )
        raise SourceError(msg)
    result: np.ndarray = links[carrier] @ tree.lookup(carrier, camera, times_ns)
    return result
