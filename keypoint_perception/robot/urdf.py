"""
Reads a URDF: https://wiki.ros.org/urdf/XML.

What a label needs is read: links, joints and collision geometry. Everything is checked, because a
description comes with a bag from anywhere. (The libraries that read URDFs bring 70 to 90 MB of
further ones for Python 3.10 to 3.14, and take what is refused here; see ``docs/robot.md``.)
"""

from __future__ import annotations

from collections.abc import Iterator
import logging
import math
from pathlib import Path
from xml.etree.ElementTree import Element

from keypoint_perception.errors import SourceError
from keypoint_perception.limits import check_file_size, limits, remedy
from keypoint_perception.robot.joint_tree import check_mimics, order_joints
from keypoint_perception.robot.rigid_transforms import from_rpy
from keypoint_perception.robot.robot_description import (
    CollisionGeometry,
    JOINT_TYPES,
    Mimic,
    MOVING_TYPES,
    RobotDescription,
    RobotJoint,
)
from keypoint_perception.robot.safe_xml import parse_xml
import numpy as np

XACRO = 'it is a xacro file; expand it: `ros2 run xacro xacro FILE > robot.urdf`'
EXPECTED = 'expected the URDF of one robot'

log = logging.getLogger('keypoint_perception')


def read_urdf(path: Path) -> RobotDescription:
    """
    Read a ``.urdf`` file.

    :raises SourceError: if it cannot be read, or describes no robot
    """
    try:
        check_file_size(path, 'max_urdf_mb')
        text = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        msg = f'URDF {str(path)!r} cannot be read ({reason}); {EXPECTED}.'
        raise SourceError(msg) from error
    return parse_urdf(text, f'URDF {str(path)!r}')


def parse_urdf(text: bytes, name: str) -> RobotDescription:
    """
    Return what a URDF describes.

    :param name: what it is called in messages
    :raises SourceError: if it describes no robot
    """
    try:
        megabytes, largest = len(text) / 1e6, limits().max_urdf_mb
        if megabytes > largest:
            found = f'it has {megabytes:.4g} MB, expected {largest:g} or less'
            raise ValueError(f'{found}; {remedy("max_urdf_mb", megabytes)}')
        robot = _description(parse_xml(text))
        for sentence in check_mimics(robot):
            log.warning('%s: %s', name, sentence)
    except ValueError as error:
        msg = f'{name} cannot be used ({error}); {EXPECTED}.'
        raise SourceError(msg) from error
    return robot


def _description(root: Element) -> RobotDescription:
    for element in root.iter():
        if element.tag.startswith('xacro:') or any('${' in v for v in element.attrib.values()):
            raise ValueError(XACRO)
    if root.tag != 'robot':
        raise ValueError(f'its outermost element is <{root.tag[:40]}>, not <robot>')
    links: dict[str, tuple[CollisionGeometry, ...]] = {}
    for element in root.findall('link'):
        link = _name(element)
        if link in links:
            raise ValueError(f'link {link!r} is there twice')
        links[link] = tuple(_collisions(element, link))
    if not links:
        raise ValueError('it has no link')
    joints = [_joint(element) for element in root.findall('joint')]
    ordered, base = order_joints(links, joints)
    return RobotDescription(root.get('name', ''), links, ordered, base)


def _joint(element: Element) -> RobotJoint:
    name, kind = _name(element), element.get('type', '')
    what = f'joint {name!r}'
    if kind not in JOINT_TYPES:
        raise ValueError(
            f'{what} is of type {kind[:40]!r}, which joint states do not place; supported: '
            f'{", ".join(JOINT_TYPES)}'
        )
    parent, child = (_link_of(element, end, what) for end in ('parent', 'child'))
    lower, upper, axis = -math.inf, math.inf, np.array([1.0, 0.0, 0.0])
    if kind in MOVING_TYPES and (given := element.find('axis')) is not None:
        axis = np.array(_numbers(given, 'xyz', 3, what, (1, 0, 0)))
        if not (length := float(np.linalg.norm(axis))):
            raise ValueError(f'{what} has an axis of zeros')
        axis = axis / length
    if kind in ('revolute', 'prismatic') and (limit := element.find('limit')) is not None:
        (lower,), (upper,) = (_numbers(limit, end, 1, what, (0,)) for end in ('lower', 'upper'))
        if lower >= upper:  # as of files whose limits were never filled in
            lower, upper = -math.inf, math.inf
    mimic = None
    if kind in MOVING_TYPES and (given := element.find('mimic')) is not None:
        (multiplier,) = _numbers(given, 'multiplier', 1, what, (1,))
        (offset,) = _numbers(given, 'offset', 1, what, (0,))
        mimic = Mimic(given.get('joint', ''), multiplier, offset)
    origin = _origin(element, what)
    return RobotJoint(name, kind, parent, child, origin, axis, lower, upper, mimic)


def _collisions(link: Element, name: str) -> Iterator[CollisionGeometry]:
    what = f'link {name!r}'
    for collision in link.findall('collision'):
        origin = _origin(collision, what)
        for shape in collision.findall('geometry/*'):
            if shape.tag == 'box':
                size = _numbers(shape, 'size', 3, what)
            elif shape.tag == 'sphere':
                size = _numbers(shape, 'radius', 1, what)
            elif shape.tag in ('cylinder', 'capsule'):
                size = (
                    *_numbers(shape, 'radius', 1, what),
                    *_numbers(shape, 'length', 1, what),
                )
            elif shape.tag == 'mesh':
                size = _numbers(shape, 'scale', 3, what, (1, 1, 1))
            else:
                continue
            kind = 'cylinder' if shape.tag == 'capsule' else shape.tag
            yield CollisionGeometry(kind, origin, size, shape.get('filename', ''))


def _origin(element: Element, what: str) -> np.ndarray:
    """Return the transform of an element's ``origin``; without one, of none."""
    given = element.find('origin')
    if given is None:
        return np.eye(4)
    xyz, rpy = (np.array(_numbers(given, n, 3, what, (0, 0, 0))) for n in ('xyz', 'rpy'))
    return from_rpy(xyz, rpy)


def _numbers(
    element: Element, attribute: str, count: int, what: str, default: tuple[float, ...] = ()
) -> tuple[float, ...]:
    text = element.get(attribute)
    if text is None and default:
        return default
    try:
        values = tuple(map(float, (text or '').split()))
    except ValueError:
        values = ()
    if len(values) != count or not all(math.isfinite(value) for value in values):
        found = 'no' if text is None else repr(text[:40])
        numbers = 'a number' if count == 1 else f'{count} numbers'
        raise ValueError(
            f'{what} has {found} {attribute} of <{element.tag[:40]}>; expected {numbers}'
        )
    return values


def _name(element: Element) -> str:
    name = element.get('name', '')
    if not name:
        raise ValueError(f'a <{element.tag}> has no name')
    return name


def _link_of(joint: Element, end: str, what: str) -> str:
    element = joint.find(end)
    link = '' if element is None else element.get('link', '')
    if not link:
        raise ValueError(f'{what} has no {end} link')
    return link
