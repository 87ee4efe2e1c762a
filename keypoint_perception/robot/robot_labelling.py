"""From a recording to labels of its robot: what ``label robot`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import logging
from pathlib import Path

from keypoint_perception.camera_topics import camera_info_topics, is_rectified
from keypoint_perception.errors import CalibrationError, SourceError
from keypoint_perception.geometry.camera_model import CameraModel
from keypoint_perception.robot.camera_in_robot import check_camera_chain, optical_frame
from keypoint_perception.robot.camera_pose import CameraPose
from keypoint_perception.robot.joint_matching import check_clock, match_joints
from keypoint_perception.robot.link_labels import label_links, LabelCounts, ObservedRobot
from keypoint_perception.robot.link_points import choose_points
from keypoint_perception.robot.link_shapes import link_shapes
from keypoint_perception.robot.robot_description import quoted, RobotDescription
from keypoint_perception.robot.robot_recording import RobotRecording
from keypoint_perception.robot.urdf import parse_urdf, read_urdf
import numpy as np

log = logging.getLogger('keypoint_perception')


@dataclass(frozen=True)
class RobotLabels:
    """
    Labels of a robot's points.

    :param uv: (N, L, 2) px, NaN where there is no label
    :param place: where the camera's pose comes from, in words
    """

    names: tuple[str, ...]
    stamps_ns: np.ndarray
    uv: np.ndarray
    counts: LabelCounts
    place: str


def describe_robot(recording: RobotRecording, urdf: Path | None) -> RobotDescription:
    """
    Return the robot of a recording, from a file if one is given.

    :raises SourceError: if there is no description, or several
    """
    if urdf is not None:
        return read_urdf(urdf)
    found = recording.descriptions
    if not found:
        msg = (
            f'{recording.name!r} has no /robot_description; give the URDF with --urdf, or record '
            'with `keypoint_perception record --robot`.'
        )
        raise SourceError(msg)
    if len(found) > 1:
        msg = (
            f'{recording.name!r} describes {len(found)} robots ({quoted(found)}); give the URDF '
            'of one with --urdf.'
        )
        raise SourceError(msg)
    ((topic, text),) = found.items()
    return parse_urdf(text, f'The URDF on {topic}')


def label_robot(
    recording: RobotRecording,
    robot: RobotDescription,
    *,
    pose: CameraPose | None = None,
    links: Sequence[str] = (),
    points: Path | None = None,
    delay_s: float | None = None,
    meshes: Sequence[Path] = (),
) -> RobotLabels:
    """
    Return the labels of a recording.

    :param pose: the camera's, in place of that on tf
    :param links: whose origins are labelled; empty: all
    :param points: YAML of further points
    :param delay_s: stamp of an image minus the moment that it shows; None: the pose's, or 0
    :param meshes: folders with mesh files of collision geometry
    :raises PerceptionError: if no labels follow
    """
    camera = camera_of(recording)
    chosen = choose_points(robot, links, points)
    known = match_joints(robot, recording.joints, recording.name)
    delay_s = (pose.stamp_delay_s if pose else None) if delay_s is None else delay_s
    times_ns = recording.stamps_ns - round((delay_s or 0.0) * 1e9)
    check_clock(recording.joints, known, times_ns, recording.name)
    tree = recording.transforms
    tree.drop(link for link in robot.links if link != robot.root)
    recorded = recording.camera_info.header.frame_id if recording.camera_info else ''
    optical = optical_frame(tree, recorded.removeprefix('/'), pose)
    carrier = check_camera_chain(robot, tree, optical, pose)
    observed = ObservedRobot(
        *(robot, recording.joints, known, tree, camera, optical, carrier),
        link_shapes(robot, meshes),
    )
    uv, counts = label_links(observed, chosen, times_ns)
    place = f'{"--camera" if pose else "tf"}, through link {carrier}'
    names = tuple(point.name for point in chosen)
    return RobotLabels(names, recording.stamps_ns, uv, counts, place)


def camera_of(recording: RobotRecording) -> CameraModel:
    """
    Return the calibration of a recording's camera.

    :raises CalibrationError: if there is none, or it is not of the images
    """
    if recording.camera_info is None:
        where = ' or '.join(camera_info_topics(recording.topic))
        msg = (
            f'{recording.name!r} has no readable camera_info of {recording.topic} (expected on '
            f'{where}); record it beside the images.'
        )
        raise CalibrationError(msg)
    rectified = is_rectified(recording.topic)
    camera = CameraModel.from_camera_info(recording.camera_info, rectified=rectified)
    if recording.image_hw is not None:
        camera.check_image(recording.image_hw)
    return camera
