"""
Rigid transforms as 4x4 matrices, stacked along any leading axes.

``T_a_b`` takes coordinates in frame b to frame a. Quaternions are x, y, z, w, as in ROS.
"""

from __future__ import annotations

import numpy as np


def from_rotation(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return transforms (..., 4, 4) of rotations (..., 3, 3) and translations (..., 3) in m."""
    shape = np.broadcast_shapes(rotation.shape[:-2], translation.shape[:-1])
    transform = np.zeros((*shape, 4, 4))
    transform[..., :3, :3], transform[..., :3, 3] = rotation, translation
    transform[..., 3, 3] = 1
    return transform


def from_rpy(xyz: np.ndarray, rpy: np.ndarray) -> np.ndarray:
    """
    Return the transform (4, 4) of an ``origin`` of a URDF.

    :param xyz: translation, m
    :param rpy: rotations about the fixed axes x, y and z, in this order, rad
    """
    turns = [from_axis_angle(axis, np.asarray(a)) for axis, a in zip(np.eye(3), rpy, strict=True)]
    return from_rotation(turns[2] @ turns[1] @ turns[0], np.asarray(xyz, np.float64))


def from_axis_angle(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return rotations (..., 3, 3) about a unit vector (3,) by angles (...,) rad (Rodrigues)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    sine, cosine = np.sin(angle)[..., None, None], np.cos(angle)[..., None, None]
    rotation: np.ndarray = np.eye(3) + sine * cross + (1 - cosine) * (cross @ cross)
    return rotation


def from_quaternion(translation: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Return transforms (..., 4, 4) of translations (..., 3) m and unit quaternions (..., 4)."""
    x, y, z, w = np.moveaxis(quaternion, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    rotation = np.moveaxis(np.array(rows), (0, 1), (-2, -1))
    return from_rotation(rotation, np.asarray(translation, np.float64))


def inverse(transform: np.ndarray) -> np.ndarray:
    """Return the inverses of transforms (..., 4, 4)."""
    turned = np.swapaxes(transform[..., :3, :3], -1, -2)
    return from_rotation(turned, -(turned @ transform[..., :3, 3:])[..., 0])


def slerp(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """
    Interpolate unit quaternions (N, 4) along the shorter arc, as tf2 does (Shoemake 1985).

    :param share: (N,) from 0, the first, to 1, the second
    """
    cosine = (first * second).sum(axis=-1)
    second = np.where(cosine[:, None] < 0, -second, second)
    angle = np.arccos(np.clip(np.abs(cosine), 0, 1))
    sine = np.sin(angle)
    near = sine < 1e-6  # there, the arc is its chord
    safe = np.where(near, 1, sine)
    before = np.where(near, 1 - share, np.sin((1 - share) * angle) / safe)
    after = np.where(near, share, np.sin(share * angle) / safe)
    mixed = before[:, None] * first + after[:, None] * second
    unit: np.ndarray = mixed / np.linalg.norm(mixed, axis=-1, keepdims=True)
    return unit
