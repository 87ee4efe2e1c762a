"""
Clips that are hard to learn from: what people record by mistake, and what cannot be helped.

All are of arms before a textured wall, or of a dark mover on a plain floor.
"""

from __future__ import annotations

from typing import NamedTuple

from camera_clips import BASE, camera_path, draw_arm, HW, smooth, wall
import cv2
import numpy as np

# Where the mirror stands, and the corners of the screen, px of the wall.
MIRROR_X = 226
SCREEN = (148, 118, 178, 142)
NOISE = 2.0


class DifficultClip(NamedTuple):
    """
    Frames, and what is true of them.

    :param movers: which pixels show what moves in the world, (N, H, W) bool
    :param points: the joints of each arm or the middle of the mover, (N, P, 2) px
    :param path: from pixels of each frame to those of the wall, (N, 3, 3)
    """

    images: np.ndarray
    movers: np.ndarray
    points: np.ndarray
    path: np.ndarray


def difficult_clip(
    kind: str, count: int = 90, *, camera: str = '', seed: int = 0
) -> DifficultClip:
    """
    Return a clip.

    :param kind: plain; bump (the camera is pushed in the middle); cut (another scene from the
        middle on); flicker (of the brightness of frames); bands (of rolling exposure); mirror;
        screen (whose content changes); twins (two arms alike); restless (nothing rests)
    :param camera: path of the camera, of :func:`camera_clips.camera_path`
    """
    rng = np.random.default_rng(seed)
    path = camera_path(camera or ('bump' if kind == 'bump' else 'still'), count, seed)
    bases = [BASE] if kind != 'twins' else [(BASE[0] - 26, BASE[1]), (BASE[0] + 26, BASE[1])]
    angles = [[smooth(rng, count, sd, 6) for sd in (0.8, 1.0)] for _ in bases]
    lights = 1 + rng.normal(0, 0.05, count) if kind == 'flicker' else np.ones(count)
    pictures = wall(seed=seed), wall(seed=seed + 1)
    images, movers, points = [], [], []
    for t, to_wall in enumerate(path):
        later = t >= count // 2
        scene = pictures[later if kind == 'cut' else 0].copy()
        if kind == 'restless':
            scene = _stirred(scene, t)
        mask = np.zeros(scene.shape[:2], np.uint8)
        joints = [
            draw_arm(scene, mask, shoulder[t], elbow[t], base)
            for base, (shoulder, elbow) in zip(bases, angles, strict=True)
        ]
        if kind == 'mirror':
            _mirror(scene, mask)
        if kind == 'screen':
            _show(scene, mask, rng)
        image, shown = _taken(scene, to_wall), _taken(mask, to_wall) > 127
        if kind == 'restless':
            shown[:] = True
        if kind == 'bands':
            rows = np.arange(HW[0]) / 40 + 0.37 * t
            image = image * (1 + 0.12 * np.sin(2 * np.pi * rows))[:, None, None]
        image = lights[t] * image + rng.normal(0, NOISE, image.shape)
        images.append(image.clip(0, 255).astype(np.uint8))
        movers.append(shown)
        points.append(_in_frame(np.concatenate(joints), to_wall))
    return DifficultClip(np.stack(images), np.stack(movers), np.stack(points), path)


def dark_mover_clip(
    count: int = 90, *, side: int = 96, size: float = 7.0, rests: float = 0.0, seed: int = 0
) -> DifficultClip:
    """
    Return a clip of a small dark mover on a floor with a bright rim.

    The camera shakes by a fraction of a pixel, its lens blurs, and the light flickers by some grey
    levels. The mover covers half a percent of the picture.

    :param size: length of the mover, px
    :param rests: share of the clip, from its beginning, in which the mover stays where it is
    """
    scale, rng = 4, np.random.default_rng(seed)
    floor = np.full((scale * side, scale * side), 35.0, np.float32)
    for inset, level in ((0.06, 240), (0.1, 150)):
        edge = round(inset * side) * scale
        floor[edge:-edge, edge:-edge] = level
    grain = wall(floor.shape, seed)[..., 0]
    floor += 0.06 * (grain - grain.mean())
    way = np.cumsum(np.stack([smooth(rng, count, 1.8, 8) for _ in range(2)], axis=1), axis=0)
    way = way * (np.arange(count) >= rests * count)[:, None]
    low, high = 0.2 * side, 0.8 * side
    # back from walls that it meets
    way = low + np.abs((way + 0.3 * side) % (2 * (high - low)) - (high - low))
    images, movers, points = [], [], []
    for middle, before in zip(way, np.roll(way, 1, axis=0), strict=True):
        drawn, mask = floor.copy(), np.zeros(floor.shape, np.uint8)
        turn = float(np.degrees(np.arctan2(*(middle - before)[::-1])))
        centre = tuple((scale * (middle + 0.5)).round().astype(int).tolist())
        axes = round(scale * size / 2), round(scale * size / 3.5)
        cv2.ellipse(drawn, centre, axes, turn, 0, 360, 50, -1)
        cv2.ellipse(mask, centre, axes, turn, 0, 360, 255, -1)
        shift = rng.normal(0, 0.35, 2)
        shaken = np.array([[1, 0, scale * shift[0]], [0, 1, scale * shift[1]]])
        drawn, mask = (_lens(image, shaken, side) for image in (drawn, mask))
        image = (drawn * (1 + rng.normal(0, 0.02)))[..., None]
        image = image + rng.normal(0, NOISE, (side, side, 3))
        images.append(image.round().clip(0, 255).astype(np.uint8))
        movers.append(mask > 80)
        points.append([middle + shift])
    still = np.tile(np.eye(3), (count, 1, 1))
    return DifficultClip(np.stack(images), np.stack(movers), np.array(points), still)


def _lens(image: np.ndarray, shaken: np.ndarray, side: int) -> np.ndarray:
    extent = image.shape[::-1]
    image = cv2.warpAffine(image, shaken, extent, borderMode=cv2.BORDER_REPLICATE)
    image = cv2.GaussianBlur(image, (0, 0), 0.7 * extent[0] / side)
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)


def _taken(scene: np.ndarray, to_wall: np.ndarray) -> np.ndarray:
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(scene, to_wall, HW[::-1], flags=flags)


def _in_frame(points: np.ndarray, to_wall: np.ndarray) -> np.ndarray:
    return cv2.perspectiveTransform(points[:, None], np.linalg.inv(to_wall))[:, 0]


def _stirred(scene: np.ndarray, t: int) -> np.ndarray:
    """Return a picture whose parts drift in several directions, as water or a crowd does."""
    v, u = np.indices(scene.shape[:2], np.float32)
    across = 14 * np.sin(0.05 * v + 0.31 * t) + 11 * np.sin(0.09 * u - 0.43 * t)
    down = 14 * np.sin(0.06 * u - 0.37 * t) + 11 * np.sin(0.08 * v + 0.29 * t)
    return cv2.remap(scene, u + across, v + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _mirror(scene: np.ndarray, mask: np.ndarray) -> None:
    """Show on the right of the mirror's edge, a little darker, what is on its left."""
    width = scene.shape[1] - MIRROR_X
    for image, gain in ((scene, 0.8), (mask, 1)):
        image[:, MIRROR_X:] = gain * image[:, MIRROR_X - width : MIRROR_X][:, ::-1]


def _show(scene: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Show another picture on the screen, behind the arm."""
    left, top, right, bottom = SCREEN
    coarse = rng.integers(0, 255, (4, 5, 3)).astype(np.float32)
    shown = cv2.resize(coarse, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
    part = slice(top, bottom), slice(left, right)
    behind = mask[part][..., None] == 0
    scene[part] = np.where(behind, shown, scene[part])
    cv2.rectangle(scene, (left - 2, top - 2), (right + 1, bottom + 1), (20, 20, 20), 2)
