"""A robot as its URDF describes it: links, the joints between them, and collision geometry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
import math

import numpy as np

MOVING_TYPES = ('revolute', 'continuous', 'prismatic')
JOINT_TYPES = (*MOVING_TYPES, 'fixed')


@dataclass(frozen=True)
class Mimic:
    """A joint that follows another: ``multiplier`` x position + ``offset``."""

    joint: str
    multiplier: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class RobotJoint:
    """
    One joint.

    :param kind: one of :data:`JOINT_TYPES`
    :param origin: the joint's frame in the parent link's, (4, 4) m
    :param axis: unit vector in the joint's frame, (3,)
    :param lower: smallest position, rad or m; minus infinity without limits
    """

    name: str
    kind: str
    parent: str
    child: str
    origin: np.ndarray
    axis: np.ndarray
    lower: float = -math.inf
    upper: float = math.inf
    mimic: Mimic | None = None


@dataclass(frozen=True)
class CollisionGeometry:
    """
    One piece of a link for collision checks.

    :param kind: ``box``, ``cylinder``, ``sphere`` or ``mesh``
    :param origin: in the link's frame, (4, 4) m
    :param size: box: x, y, z; cylinder: radius, length; sphere: radius; mesh: scale; m
    :param file: the mesh's, as in the URDF
    """

    kind: str
    origin: np.ndarray
    size: tuple[float, ...]
    file: str = ''


@dataclass(frozen=True)
class RobotDescription:
    """
    One robot: a tree of links.

    :param links: collision geometry by link, in the order of the URDF
    :param joints: in an order in which a parent link is placed before its children
    :param root: the link that is nobody's child
    """

    name: str
    links: dict[str, tuple[CollisionGeometry, ...]]
    joints: tuple[RobotJoint, ...]
    root: str
    joint_of: dict[str, RobotJoint] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'joint_of', {joint.name: joint for joint in self.joints})

    @property
    def moving(self) -> tuple[RobotJoint, ...]:
        """Return the joints that move, those that mimic others included."""
        return tuple(joint for joint in self.joints if joint.kind in MOVING_TYPES)

    def joints_to(self, link: str) -> list[RobotJoint]:
        """Return the joints from a link up to the root."""
        parents = {joint.child: joint for joint in self.joints}
        found = []
        while link in parents:
            found.append(parents[link])
            link = parents[link].parent
        return found


def quoted(names: Iterable[str], most: int = 6) -> str:
    """Return some names for a sentence, the first few of many."""
    every = list(names)
    listed = ', '.join(every[:most])
    return f'{listed} and {len(every) - most} more' if len(every) > most else listed
