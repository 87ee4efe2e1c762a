"""Places in an image and their depths -> places in space, with their velocities."""

from __future__ import annotations

from collections.abc import Callable

from keypoint_perception.geometry.camera_model import CameraModel
import numpy as np


def to_space(
    model: CameraModel | None,
    uv: np.ndarray,
    velocity_uv: np.ndarray | None,
    z: np.ndarray | None,
    velocity_z: np.ndarray | None,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """
    Return x, y, z and their velocities in metres and m/s, (N, 3) each.

    :param model: the calibration; NaN is the answer without
    :param uv: places in px of the image as received, (N, 2)
    :param velocity_uv: in px/s, (N, 2); None if not known, as the velocities then
    :param z: depths in metres, (N,); None if not asked for, as both answers then
    :param velocity_z: in m/s, (N,)
    """
    if z is None:
        return None, None
    rays, turning = moved(model and model.rays, uv, velocity_uv)
    rays = np.column_stack([rays, np.ones(len(uv))])
    xyz = rays * z[:, None]
    if turning is None:
        return xyz, None
    turning = np.column_stack([turning, np.zeros(len(uv))])
    return xyz, turning * z[:, None] + rays * velocity_z[:, None]


def moved(
    move: Callable[[np.ndarray], np.ndarray] | None, uv: np.ndarray, velocity: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Return moved places and how fast they change, (N, 2) each.

    The latter along a step of one px, which has room for rounding.

    :param move: NaN is the answer without
    :param velocity: of the places in px/s; None if not known, as the answer then
    """
    if move is None:
        return uv * np.nan, None if velocity is None else uv * np.nan
    if velocity is None:
        return move(uv), None
    speed = np.sqrt((velocity * velocity).sum(1, keepdims=True))
    step = velocity / np.where(speed > 0, speed, 1.0)
    here, ahead = np.split(move(np.vstack([uv, uv + step])), 2)
    return here, (ahead - here) * speed
