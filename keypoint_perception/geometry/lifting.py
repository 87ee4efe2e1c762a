"""Points of an image and their depths -> points in space, with their velocities."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Transform = Callable[[np.ndarray], np.ndarray]


def lift(
    rays_of: Transform,
    uv: np.ndarray,
    velocity_uv: np.ndarray | None,
    z: np.ndarray,
    velocity_z: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Return x, y, z (N, 3) in metres and their velocities in m/s.

    :param rays_of: returns x / z and y / z of pixels
    :param uv: px of the received image, (N, 2)
    :param velocity_uv: px/s, (N, 2); None if unknown, like the velocities then
    :param z: depths in metres, (N,), like ``velocity_z`` in m/s
    """
    rays, velocity_rays = transform_with_velocity(rays_of, uv, velocity_uv)
    rays = np.column_stack([rays, np.ones(len(uv))])
    xyz = rays * z[:, None]
    if velocity_rays is None or velocity_z is None:
        return xyz, None
    velocity_rays = np.column_stack([velocity_rays, np.zeros(len(uv))])
    return xyz, velocity_rays * z[:, None] + rays * velocity_z[:, None]


def transform_with_velocity(
    transform: Transform, uv: np.ndarray, velocity: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """
    Return transformed points and their velocities, (N, 2) each.

    Velocities are finite differences over 1 px, which is large enough for rounding errors; None
    if ``velocity``, px/s, is None.
    """
    if velocity is None:
        return transform(uv), None
    speed = np.sqrt((velocity * velocity).sum(1, keepdims=True))
    step = velocity / np.where(speed > 0, speed, 1.0)
    here, ahead = np.split(transform(np.vstack([uv, uv + step])), 2)
    return here, (ahead - here) * speed
