"""Random colours, fills and backgrounds of simulated scenes, all float32 RGB in [0, 1]."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator


def colour(rng: Rng) -> Array:
    """Return a random colour, (3,): grey or dark ones as often as in workshops."""
    hue, value = rng.random(), rng.random()
    saturation = rng.random() * (0.15 if rng.random() < 0.4 else 1.0)
    return np.array(colorsys.hsv_to_rgb(hue, saturation, value), np.float32)


def texture(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return a random texture, (H, W, 3): plain, gradient, stripes, squares, spots or clouds."""
    kinds = (plain, gradient, stripes, squares, spots, clouds)
    return kinds[rng.integers(len(kinds))](rng, hw).clip(0, 1)


def plain(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return one colour."""
    return np.broadcast_to(colour(rng), (*hw, 3)).copy()


def gradient(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return a linear gradient of two colours."""
    return _mix(rng, (_along(rng, hw) + 1) / 2)


def stripes(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return stripes of two colours, soft or hard."""
    wave = np.sin(_along(rng, hw) * rng.uniform(2, 14) + rng.uniform(0, 6))
    return _mix(rng, _edge(rng, wave))


def squares(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return a checkerboard or tiles with joints, seen from an angle."""
    rows, columns = np.indices(hw, np.float32) / max(hw) - 0.5
    angle, tilt = rng.uniform(0, np.pi), rng.uniform(0, 1.2)
    depth = 1 + tilt * (0.5 - rows)
    x, y = (columns * depth, rows * depth)
    u = np.cos(angle) * x + np.sin(angle) * y
    v = np.cos(angle) * y - np.sin(angle) * x
    per = rng.uniform(3, 12)
    if rng.random() < 0.5:
        board = (np.floor(u * per) + np.floor(v * per)) % 2
    else:
        joint = rng.uniform(0.05, 0.15)
        board = ((u * per % 1 < joint) | (v * per % 1 < joint)).astype(np.float32)
    return _mix(rng, board)


def spots(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return random discs and boxes, a cluttered place."""
    image = plain(rng, hw)
    size = max(hw)
    for _ in range(rng.integers(4, 25)):
        x, y = (int(rng.integers(side)) for side in reversed(hw))
        r, s = (max(1, int(size * rng.uniform(0.02, 0.15))) for _ in range(2))
        shade = [float(c) for c in colour(rng)]
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), r, shade, -1, cv2.LINE_AA)
        else:
            box = cv2.boxPoints(((x, y), (2 * r, 2 * s), rng.uniform(0, 180)))
            cv2.fillPoly(image, [box.astype(np.int32)], shade, cv2.LINE_AA)
    return image


def clouds(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return noise of several octaves, isotropic or stretched like wood."""
    stretch = rng.choice([1, 1, 6])
    total = np.zeros(hw, np.float32)
    for octave in range(2, 2 + rng.integers(2, 5)):
        cells = max(2, 2**octave // stretch), 2**octave
        grid = rng.standard_normal(cells).astype(np.float32)
        layer = cv2.resize(grid, hw[::-1], interpolation=cv2.INTER_CUBIC)
        total += layer * 0.6**octave
    total /= max(1e-6, float(np.abs(total).max()))
    return _mix(rng, (total + 1) / 2)


def background(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return a place: bare, or a floor, perhaps with a wall, a table, a rim or clutter."""
    if rng.random() < 0.12:
        return plain(rng, hw)
    image = texture(rng, hw)
    height, width = hw
    if rng.random() < 0.3:  # a wall above
        horizon = int(height * rng.uniform(0.1, 0.6))
        image[:horizon] = texture(rng, hw)[:horizon]
    if rng.random() < 0.3:  # a table or box, with a rim or without
        x0, x1 = np.sort(rng.uniform(0, 1, 2))
        y0, y1 = np.sort(rng.uniform(0, 1, 2))
        inset = rng.uniform(0, 0.2, 2)
        corners = np.array([[x0 + inset[0], y0], [x1 - inset[0], y0], [x1, y1], [x0, y1]])
        points = (corners * (width, height)).astype(np.int32)
        mask = np.zeros(hw, np.float32)
        cv2.fillPoly(mask, [points], 1.0, cv2.LINE_AA)
        image += mask[..., None] * (texture(rng, hw) - image)
        if rng.random() < 0.5:
            thick = int(rng.integers(1, max(2, width // 30)))
            shade = [float(c) for c in colour(rng)]
            cv2.polylines(image, [points], True, shade, thick, cv2.LINE_AA)
    for _ in range(rng.integers(0, 6)):  # things that never move
        side = int(max(hw) * rng.uniform(0.04, 0.25))
        x, y = int(rng.integers(width)), int(rng.integers(height))
        mask = np.zeros(hw, np.float32)
        box = cv2.boxPoints(((x, y), (side, side * rng.uniform(0.3, 1)), rng.uniform(0, 180)))
        cv2.fillPoly(mask, [box.astype(np.int32)], 1.0, cv2.LINE_AA)
        image += mask[..., None] * (texture(rng, hw) - image)
    return image.clip(0, 1)


def _along(rng: Rng, hw: tuple[int, int]) -> Array:
    """Return a coordinate along a random direction, (H, W) from about -1 to 1."""
    rows, columns = np.indices(hw, np.float32) / max(hw) * 2 - 1
    angle = rng.uniform(0, 2 * np.pi)
    return np.cos(angle) * columns + np.sin(angle) * rows


def _edge(rng: Rng, wave: Array) -> Array:
    hardness = rng.choice([1.0, 4.0, 30.0])
    return (wave * hardness).clip(-1, 1) / 2 + 0.5


def _mix(rng: Rng, share: Array) -> Array:
    first, second = colour(rng), colour(rng)
    if rng.random() < 0.5:  # most surfaces have little contrast
        second = first + (second - first) * rng.uniform(0.1, 0.5)
    return (first + share[..., None].clip(0, 1) * (second - first)).astype(np.float32)
