"""
Points in a camera's optical frame -> pixels of its images, the inverse of rays.

The equations are those that :mod:`keypoint_perception.geometry.camera_model` inverts. A polynomial
that fits the picture folds back further out, so that a point far outside the view seems to lie in
it; such points are told by the way back, which does not lead to them.
"""

from __future__ import annotations

from keypoint_perception.geometry.camera_model import CameraModel
import numpy as np

NEAREST_M = 1e-3  # in front of the camera
MOST_RAY_ERROR = 1e-4  # of the way back, relative


def project(model: CameraModel, points: np.ndarray) -> np.ndarray:
    """
    Return the pixels of points, inside of the image or not.

    :param points: in the optical frame (x right, y down, z forward), (N, 3) m; of the rectified
        camera for a rectified image
    :return: (N, 2) float64 px of the received image; NaN behind the camera and where its model
        has no pixel
    """
    points = np.asarray(points, np.float64)
    with np.errstate(invalid='ignore', over='ignore'):
        ahead = np.where(points[:, 2:] > NEAREST_M, points[:, 2:], np.nan)
        rays = points[:, :2] / ahead
        bent = rays
        if model.d and not model.rectified:
            bend = _equidistant if model.distortion == 'equidistant' else _brown
            bent = bend(rays, model.d)
        fx, fy, cx, cy = model.p if model.rectified else model.k
        full = bent * (fx, fy) + (cx, cy)
        uv: np.ndarray = (full + 0.5 - model.offset_uv) / model.binning_uv - 0.5
        if bent is not rays:
            error = np.abs(model.rays(uv) - rays).max(axis=1)
            uv[~(error <= MOST_RAY_ERROR * (1 + np.abs(rays).max(axis=1)))] = np.nan
    return uv


def _brown(rays: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    """Bend rays by the radial and tangential model: k1, k2, p1, p2, k3, k4, k5, k6."""
    k1, k2, p1, p2, k3, k4, k5, k6 = (*d, *(0.0,) * (8 - len(d)))
    x, y = rays.T
    s = x * x + y * y
    factor = (1 + s * (k1 + s * (k2 + s * k3))) / (1 + s * (k4 + s * (k5 + s * k6)))
    return np.column_stack(
        [
            x * factor + 2 * p1 * x * y + p2 * (s + 2 * x * x),
            y * factor + p1 * (s + 2 * y * y) + 2 * p2 * x * y,
        ]
    )


def _equidistant(rays: np.ndarray, d: tuple[float, ...]) -> np.ndarray:
    """Bend rays by the fisheye model: k1 to k4."""
    k1, k2, k3, k4 = d
    radius = np.hypot(*rays.T)
    t = np.arctan(radius)
    s = t * t
    bent = t * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4))))
    scale = np.where(radius > 0, bent / np.where(radius > 0, radius, 1), 1.0)
    return rays * scale[:, None]
