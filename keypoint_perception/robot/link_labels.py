"""
Labels from the robot's own joint states: points of its links in the pixels of every image.

For each image, the joint angles at the moment that it shows give the links' places (forward
kinematics), the camera's pose takes them to its frame, and its calibration to pixels. Points that
are outside of the image or behind a link are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from keypoint_perception.errors import SourceError
from keypoint_perception.geometry.camera_model import CameraModel
from keypoint_perception.geometry.projection import project
from keypoint_perception.robot.camera_in_robot import camera_transforms
from keypoint_perception.robot.joint_states import JointStates
from keypoint_perception.robot.kinematics import place_links
from keypoint_perception.robot.link_points import LinkPoint
from keypoint_perception.robot.link_shapes import LinkShapes
from keypoint_perception.robot.occlusion import hidden_by_links
from keypoint_perception.robot.rigid_transforms import inverse
from keypoint_perception.robot.robot_description import RobotDescription
from keypoint_perception.robot.transform_tree import TransformTree
import numpy as np

CHUNK = 2048  # images at once
BORDER = 0.499  # px around pixel centres; the file has three decimals


@dataclass(frozen=True)
class ObservedRobot:
    """
    A robot before a camera.

    :param known: joints with joint states
    :param optical: the camera's frame
    :param carrier: the link through which its place is known
    """

    robot: RobotDescription
    joints: JointStates
    known: Sequence[str]
    transforms: TransformTree
    camera: CameraModel
    optical: str
    carrier: str
    bodies: LinkShapes


@dataclass
class LabelCounts:
    """
    What became of images and points.

    :param gaps: images without joint states around them
    :param no_pose: images for which tf does not tell where the camera is
    :param unplaced: points of other images that the joint states do not place
    :param behind: points behind the camera, or where its model has no pixel
    :param outside: points outside of the image
    :param hidden: points behind links
    """

    images: int = 0
    gaps: int = 0
    no_pose: int = 0
    labelled: int = 0
    labels: int = 0
    unplaced: int = 0
    behind: int = 0
    outside: int = 0
    hidden: int = 0


def label_links(
    observed: ObservedRobot, points: Sequence[LinkPoint], times_ns: np.ndarray
) -> tuple[np.ndarray, LabelCounts]:
    """
    Return the labels (N, L, 2) px, NaN where there is none, and what was left out.

    :param times_ns: the moments that images show, on the clock of the joints, (N,)
    :raises SourceError: if no image can be labelled
    """
    counts = LabelCounts(images=len(times_ns))
    uv = np.full((len(times_ns), len(points), 2), np.nan)
    for start in range(0, len(times_ns), CHUNK):
        part = slice(start, start + CHUNK)
        uv[part] = _label_chunk(observed, points, times_ns[part], counts)
    labelled = np.isfinite(uv[..., 0])
    counts.labels, counts.labelled = int(labelled.sum()), int(labelled.any(axis=1).sum())
    if not counts.labels:
        raise SourceError(_nothing_seen(observed, counts))
    return uv, counts


def _label_chunk(
    observed: ObservedRobot,
    points: Sequence[LinkPoint],
    times_ns: np.ndarray,
    counts: LabelCounts,
) -> np.ndarray:
    robot, joints, tree = observed.robot, observed.joints, observed.transforms
    positions = {
        name: joints.at(name, times_ns, wraps=robot.joint_of[name].kind == 'continuous')
        for name in observed.known
    }
    posed = np.isfinite(list(positions.values())).any(axis=0)
    links = place_links(robot, positions)
    camera = camera_transforms(links, tree, observed.optical, observed.carrier, times_ns)
    seen = posed & np.isfinite(camera).all(axis=(1, 2))
    counts.gaps += int((~posed).sum())
    counts.no_pose += int((posed & ~seen).sum())
    to_camera, eyes = inverse(camera), camera[:, :3, 3]
    uv = np.full((len(times_ns), len(points), 2), np.nan)
    for index, point in enumerate(points):
        if point.link not in links:
            continue
        places = (links[point.link] @ (*point.offset, 1.0))[:, :3]
        ahead = (to_camera[:, :3, :3] @ places[..., None])[..., 0] + to_camera[:, :3, 3]
        pixels = project(observed.camera, ahead)
        placed = seen & np.isfinite(places).all(axis=1)
        ahead_of = placed & np.isfinite(pixels).all(axis=1)
        inside = ahead_of & _inside(pixels, observed.camera.image_hw)
        visible = inside & ~hidden_by_links(
            links, observed.bodies, eyes, places, inside=point.is_origin
        )
        counts.unplaced += int((seen & ~placed).sum())
        counts.behind += int((placed & ~ahead_of).sum())
        counts.outside += int((ahead_of & ~inside).sum())
        counts.hidden += int((inside & ~visible).sum())
        uv[visible, index] = pixels[visible]
    return uv


def _inside(uv: np.ndarray, image_hw: tuple[int, int]) -> np.ndarray:
    height, width = image_hw
    with np.errstate(invalid='ignore'):
        least, most = uv.min(axis=1), (uv - (width - 1, height - 1)).max(axis=1)
        within: np.ndarray = np.logical_and(least >= -BORDER, most <= BORDER)
    return within


def _nothing_seen(observed: ObservedRobot, counts: LabelCounts) -> str:
    if counts.gaps == counts.images:
        return (
            f'None of the {counts.images} images has joint states within 50 ms before and after '
            'it; record joint states at 50 Hz or more, and check the clocks and --delay.'
        )
    if counts.gaps + counts.no_pose == counts.images:
        return (
            f'tf places the camera {observed.optical!r} for none of the {counts.images} images; '
            'record /tf all the time, and check the clocks and --delay.'
        )
    return (
        f'The robot is in no picture: of its points, {counts.behind} are behind the camera, '
        f'{counts.outside} outside of the image and {counts.hidden} behind links; check that the '
        f'pose of {observed.optical!r} is of the optical frame (x right, y down, z forward), and '
        'the topic.'
    )
