"""
Coarse bodies of links, which decide what a camera cannot see.

They are the URDF's collision geometry. Where it names mesh files that are not there, a body of the
usual thickness of an arm is assumed between a link's joints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import logging
from pathlib import Path

from keypoint_perception.robot.convex_shape import ConvexShape, cylinder, hull
from keypoint_perception.robot.installed_descriptions import installed_twin
from keypoint_perception.robot.mesh_files import find_mesh, read_corners
from keypoint_perception.robot.robot_description import CollisionGeometry, RobotDescription
import numpy as np

# Of the way from the base to the farthest link along the joints, the radius of an arm: 0.04 to
# 0.05 of Franka's, KUKA's and Universal Robots' arms.
RADIUS = 0.05
CUBE = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2

log = logging.getLogger('keypoint_perception')


@dataclass
class LinkShapes:
    """
    The bodies of a robot.

    :param radius: of an arm of this size, m
    :param shapes: by link, in its frame
    :param assumed: links whose bodies were assumed
    """

    radius: float
    shapes: dict[str, list[ConvexShape]] = field(default_factory=dict)
    assumed: set[str] = field(default_factory=set)


def link_shapes(
    robot: RobotDescription, folders: Sequence[Path] = (), name: str = 'The URDF'
) -> LinkShapes:
    """
    Return the bodies of links; meshes that are not there are told in one warning.

    :param folders: where meshes are looked for besides
    :param name: the robot description's in messages
    """
    found = LinkShapes(RADIUS * _longest_way(robot))
    missing: dict[str, str] = {}
    twin: RobotDescription | None = None
    for link, geometries in robot.links.items():
        try:
            bodies = [_body(geometry, folders) for geometry in geometries]
        except (OSError, ValueError) as error:
            missing[link] = str(getattr(error, 'strerror', None) or error)
            continue
        found.shapes[link] = bodies
    if missing and (installed := installed_twin(robot)) is not None:
        twin, place = installed
        for link in list(missing):
            try:
                found.shapes[link] = [_body(g, [place]) for g in twin.links[link]]
                del missing[link]
            except (OSError, ValueError):
                continue
        log.info('%s names meshes that are not there; those in %s are used.', name, place)
    if not any(robot.links.values()):
        missing = dict.fromkeys(robot.links, 'it has none')
        log.warning(
            '%s has no collision geometry, so what is hidden is told by bodies assumed between '
            'the joints; add collision geometry to tell better.', name
        )  # fmt: skip
    elif missing:
        log.warning(
            '%s: the collision geometry of %d of %d links cannot be used (%s: %s), so bodies '
            'between the joints are assumed for them; give the folder of the meshes with '
            '--meshes.',
            *(name, len(missing), len(robot.links), *next(iter(missing.items()))),
        )
    for link in missing:
        found.shapes[link] = _assumed_body(robot, link, found.radius)
        found.assumed.add(link)
    return found


def _body(geometry: CollisionGeometry, folders: Sequence[Path]) -> ConvexShape:
    size, origin = geometry.size, geometry.origin
    if geometry.kind == 'box':
        return hull(CUBE * size, origin=origin)
    if geometry.kind == 'sphere':
        return hull(np.zeros((1, 3)), size[0], origin)
    if geometry.kind == 'cylinder':
        return cylinder(size[0], size[1], origin)
    path = find_mesh(geometry.file, folders)
    if path is None:
        raise ValueError(f'{geometry.file[:100]!r} is not there')
    return hull(read_corners(path) * size, origin=origin)


def _assumed_body(robot: RobotDescription, link: str, radius: float) -> list[ConvexShape]:
    """Return a body around the way from a link's origin to those of its children."""
    ends = [joint.origin[:3, 3] for joint in robot.joints if joint.parent == link]
    return [hull(np.array([np.zeros(3), end]), radius) for end in ends if end.any()]


def _longest_way(robot: RobotDescription) -> float:
    way = {robot.root: 0.0}
    for joint in robot.joints:
        way[joint.child] = way[joint.parent] + float(np.linalg.norm(joint.origin[:3, 3]))
    return max(way.values())
