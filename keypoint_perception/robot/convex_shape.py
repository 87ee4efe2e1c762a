"""
Convex bodies as intersections of half-spaces, and which rays they stop.

One kind of body stands for boxes, cylinders, spheres, capsules and the hulls of meshes: along each
of a fixed set of directions, how far the body reaches (a discrete oriented polytope; Klosowski et
al. 1998). A box is exact; what is round is larger by at most a few per cent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

SPREAD = 64  # directions besides the axes


def _directions() -> np.ndarray:
    """Return the axes and a Fibonacci lattice on the sphere, (M, 3) unit vectors."""
    index = np.arange(SPREAD) + 0.5
    z = 1 - 2 * index / SPREAD
    angle = np.pi * (1 + 5**0.5) * index
    radius = np.sqrt(1 - z * z)
    lattice = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), z])
    return np.concatenate([np.eye(3), -np.eye(3), lattice])


DIRECTIONS = _directions()


class ConvexShape(NamedTuple):
    """
    All points x with ``DIRECTIONS @ x <= reach``, in the frame of ``origin``.

    :param origin: of the body in its link's frame, (4, 4) m
    :param reach: (M,) m
    """

    origin: np.ndarray
    reach: np.ndarray


def hull(
    corners: np.ndarray, radius: float = 0.0, origin: np.ndarray | None = None
) -> ConvexShape:
    """Return the hull of corners (N, 3), all around which there is a ball: a sphere, a capsule."""
    reach = (DIRECTIONS @ np.asarray(corners, np.float64).T).max(axis=1) + radius
    return ConvexShape(np.eye(4) if origin is None else origin, reach)


def cylinder(radius: float, length: float, origin: np.ndarray) -> ConvexShape:
    """Return a cylinder along z, centred."""
    reach = radius * np.hypot(*DIRECTIONS[:, :2].T) + length / 2 * np.abs(DIRECTIONS[:, 2])
    return ConvexShape(origin, reach)


def length_hidden(shape: ConvexShape, eye: np.ndarray, points: np.ndarray) -> np.ndarray:
    """
    Return how far before points a body begins to hide them, (N,) m; minus infinity if not at all.

    :param eye: the camera in the body's frame, (N, 3) m
    :param points: in the body's frame, (N, 3) m
    """
    rays = points - eye
    slopes, rooms = rays @ DIRECTIONS.T, shape.reach - eye @ DIRECTIONS.T
    with np.errstate(divide='ignore', invalid='ignore'):
        crossing = rooms / slopes
    enters = np.where(slopes < 0, crossing, -np.inf).max(axis=1)
    leaves = np.where(slopes > 0, crossing, np.inf).min(axis=1)
    misses = (enters >= leaves) | ((slopes == 0) & (rooms < 0)).any(axis=1)
    length = np.linalg.norm(rays, axis=1)
    hidden = ~misses & (enters > 0) & (enters < 1)
    result: np.ndarray = np.where(hidden, (1 - enters) * length, -np.inf)
    return result
