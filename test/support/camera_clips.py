"""Clips of an arm of two links before a textured wall, taken by a camera that may move."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

HW = (96, 128)
WORLD_HW = (300, 400)
BASE = (200.0, 175.0)


class CameraClip(NamedTuple):
    """
    Frames, and what is true of them.

    :param to_world: from pixels of each frame to pixels of the wall, (N, 3, 3)
    :param arm: which pixels show the arm, (N, H, W) bool
    """

    images: np.ndarray
    to_world: np.ndarray
    arm: np.ndarray


def wall(hw: tuple[int, int] = WORLD_HW, seed: int = 0) -> np.ndarray:
    """Return a picture with detail of all sizes, (H, W, 3) float32."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((*hw, 3), np.float32)
    for size in (2, 5, 12, 30):
        noise = rng.standard_normal((hw[0] // size + 3, hw[1] // size + 3, 3)).astype(np.float32)
        picture += cv2.resize(noise, hw[::-1], interpolation=cv2.INTER_CUBIC)
    return 30 + 195 * (picture - picture.min()) / np.ptp(picture)


def camera_path(kind: str, count: int, seed: int = 0) -> np.ndarray:
    """
    Return the homography from each frame to the wall, (N, 3, 3).

    :param kind: still, pan, shake (about a pixel), handheld (turning and zooming too), bump (once,
        by 6 px) or cut (once, to another place)
    """
    rng = np.random.default_rng(seed)
    time = np.arange(count)
    zero = np.zeros(count)
    x, y, angle, zoom = zero, zero, zero, zero
    if kind == 'pan':
        x = 30 * np.sin(2 * np.pi * time / 60)
    elif kind == 'shake':
        x, y = (smooth(rng, count, 1.0, 1) for _ in range(2))
    elif kind == 'handheld':
        x, y = (smooth(rng, count, 5.0, 6) for _ in range(2))
        angle, zoom = (smooth(rng, count, 0.06, 6) for _ in range(2))
    elif kind == 'bump':
        x = np.where(time >= count // 2, 6.3, 0.0)
    elif kind == 'cut':
        x = np.where(time >= count // 2, 110.0, 0.0)
    centre = np.array([[1, 0, -(HW[1] - 1) / 2], [0, 1, -(HW[0] - 1) / 2], [0, 0, 1]])
    path = []
    for dx, dy, turn, grow in zip(x, y, angle, zoom, strict=True):
        cos, sin = np.cos(turn) * np.exp(grow), np.sin(turn) * np.exp(grow)
        at = BASE[0] + dx, BASE[1] - 35 + dy
        path.append(np.array([[cos, -sin, at[0]], [sin, cos, at[1]], [0, 0, 1]]) @ centre)
    return np.stack(path)


def smooth(rng: np.random.Generator, count: int, deviation: float, frames: int) -> np.ndarray:
    """Return random values of some deviation that change over so many frames, (N,)."""
    reach = 3 * frames
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * frames**2))
    values = np.convolve(rng.standard_normal(count + 2 * reach), kernel, 'valid')
    return deviation * values / np.sqrt(np.square(kernel).sum())


def camera_clip(
    kind: str,
    count: int = 60,
    *,
    seed: int = 0,
    noise: float = 2.0,
    arm: bool = True,
    picture: np.ndarray | None = None,
) -> CameraClip:
    """
    Return a clip.

    :param kind: of :func:`camera_path`
    :param noise: standard deviation of each pixel, grey levels
    :param arm: whether there is one
    :param picture: on the wall, :func:`wall` by default
    """
    rng = np.random.default_rng(seed)
    path = camera_path(kind, count, seed)
    shoulder, elbow = smooth(rng, count, 0.8, 6), smooth(rng, count, 1.0, 6)
    picture = wall() if picture is None else picture
    images, masks = [], []
    for to_world, first, second in zip(path, shoulder, elbow, strict=True):
        scene, mask = picture.copy(), np.zeros(picture.shape[:2], np.uint8)
        if arm:
            draw_arm(scene, mask, first, second)
        # as OpenCV draws what a frame shows
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        image = cv2.warpPerspective(scene, to_world, HW[::-1], flags=flags)
        image = image + rng.normal(0, noise, image.shape)
        images.append(np.clip(image, 0, 255).astype(np.uint8))
        masks.append(cv2.warpPerspective(mask, to_world, HW[::-1], flags=flags) > 127)
    return CameraClip(np.stack(images), path, np.stack(masks))


def draw_arm(
    scene: np.ndarray,
    mask: np.ndarray,
    shoulder: float,
    elbow: float,
    base: tuple[float, float] = BASE,
) -> np.ndarray:
    """Draw the arm on a picture and on a mask of it; angles in rad; return its joints, (2, 2)."""
    at, angle, joints = np.array(base), 0.0, []
    for turn, width, colour in ((shoulder, 9, (200, 60, 30)), (elbow, 7, (40, 80, 220))):
        angle += turn
        end = at + 28 * np.array([np.sin(angle), -np.cos(angle)])
        ends = [tuple((8 * point).round().astype(int).tolist()) for point in (at, end)]
        cv2.line(scene, *ends, colour, width, cv2.LINE_AA, 3)
        cv2.line(mask, *ends, 255, width, cv2.LINE_AA, 3)
        joints.append(end)
        at = end
    return np.stack(joints)


def registration_errors(to_reference: np.ndarray, to_world: np.ndarray) -> np.ndarray:
    """
    Return by how many pixels frames are displaced against the first, (N,).

    :param to_reference: estimated homographies from frames to the first, (N, 3, 3)
    """
    v, u = np.mgrid[8 : HW[0] : 20, 8 : HW[1] : 20].reshape(2, -1).astype(float)
    points = np.stack([u, v], axis=-1)[:, None]
    errors = []
    for estimate, truth in zip(to_reference, to_world, strict=True):
        wanted = np.linalg.inv(to_world[0]) @ truth
        around = np.linalg.inv(estimate) @ wanted
        errors.append(np.linalg.norm(cv2.perspectiveTransform(points, around) - points, axis=-1))
    return np.asarray([error.mean() for error in errors])
