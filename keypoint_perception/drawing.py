"""
Keypoints drawn on images.

A keypoint has the same colour everywhere. Positions follow the convention of
:mod:`keypoint_perception.keypoints`, also when enlarged by ``scale``:
``(u, v) -> ((u + 0.5) * scale - 0.5, (v + 0.5) * scale - 0.5)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import colorsys
import itertools

import cv2
import numpy as np

Colour = tuple[int, int, int]
OUTLINE = (16, 16, 16)
# Two keypoints, the lower index first, and a weight of 1 for the strongest edge.
Edge = tuple[int, int, float]
EDGE_COLOUR = (240, 240, 240)
# The golden ratio spaces any number of hues; the tone distinguishes similar ones.
_HUE_STEP = 0.6180339887498949
_TONES = ((1.0, 1.0), (0.45, 1.0), (0.85, 0.7))  # saturation and value
_HUES_PER_TONE = 8
# Fractional bits of positions passed to cv2.
_SHIFT = 4


def keypoint_colour(index: int) -> Colour:
    """Return the RGB colour of keypoint ``index``."""
    saturation, value = _TONES[index // _HUES_PER_TONE % len(_TONES)]
    colour = colorsys.hsv_to_rgb(index * _HUE_STEP % 1.0, saturation, value)
    red, green, blue = (round(255 * channel) for channel in colour)
    return red, green, blue


def draw_keypoints(
    rgb: np.ndarray,
    keypoints: np.ndarray,
    *,
    threshold: float = 0.0,
    names: Sequence[str] | None = None,
    trails: Iterable[np.ndarray] | None = None,
    skeleton: Sequence[Edge] = (),
    scale: int = 1,
) -> np.ndarray:
    """
    Return a copy of an image with keypoints drawn on it.

    A confident keypoint is a disc, one below ``threshold`` a ring; both have a dark outline and
    scale with the image. Keypoints that are NaN or outside the image are not drawn.

    :param rgb: (H, W, 3) uint8
    :param keypoints: u, v in px of ``rgb`` and confidence, (K, 3)
    :param threshold: minimum confidence of a disc
    :param names: K labels to write beside the keypoints
    :param trails: earlier keypoints, each (K, 3), oldest first, joined to the current ones by
        lines where they are confident
    :param skeleton: edges to draw beneath the keypoints where both ends are confident, as thick
        as their weight
    :param scale: factor by which the copy is enlarged, to keep small images legible
    :return: (H * scale, W * scale, 3) uint8
    """
    keypoints = np.asarray(keypoints, np.float64).reshape(-1, 3)
    canvas = _enlarge(rgb, scale)
    radius = _radius_px(canvas)
    if trails is not None:
        history = [np.asarray(t, np.float64).reshape(-1, 3) for t in trails]
        _draw_trails(canvas, [*history, keypoints], threshold, scale, radius)
    _draw_skeleton(canvas, keypoints, skeleton, threshold, scale, radius)
    for index, (u, v, confidence) in enumerate(keypoints):
        if not _inside(u, v, rgb.shape):
            continue
        centre = _fixed_point(u, v, scale)
        _draw_point(canvas, centre, keypoint_colour(index), radius, confidence >= threshold)
        if names is not None:
            _write(canvas, names[index], centre, keypoint_colour(index), radius)
    return canvas


def tile_images(images: Sequence[np.ndarray], columns: int, *, gap: int = 2) -> np.ndarray:
    """
    Return images in a grid, row by row, on a dark background.

    Images smaller than the largest are placed in the top-left corner of their cell.

    :param images: each (H, W, 3) uint8, at least one; sizes may differ
    :param columns: images in a row; with fewer images the grid is narrower
    :param gap: pixels between images
    """
    if not images or columns < 1:
        msg = f'{len(images)} images in {columns} columns: expected at least one of each.'
        raise ValueError(msg)
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    height = max(image.shape[0] for image in images)
    width = max(image.shape[1] for image in images)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = np.full(shape, OUTLINE, np.uint8)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet


def _enlarge(rgb: np.ndarray, scale: int) -> np.ndarray:
    """Return an enlarged copy, contiguous so that cv2 can draw on it."""
    if scale == 1:
        return np.array(rgb, np.uint8, order='C')
    height, width = rgb.shape[:2]
    size = (width * scale, height * scale)
    return cv2.resize(np.ascontiguousarray(rgb), size, interpolation=cv2.INTER_LINEAR)


def _radius_px(canvas: np.ndarray) -> float:
    return max(2.0, 0.008 * float(np.hypot(*canvas.shape[:2])))


def _inside(u: float, v: float, shape: tuple[int, ...]) -> bool:
    """Return whether a position is on the image; False for NaN."""
    return bool(-0.5 <= u <= shape[1] - 0.5 and -0.5 <= v <= shape[0] - 0.5)


def _fixed_point(u: float, v: float, scale: int) -> tuple[int, int]:
    """Return a position of the image on the enlarged canvas, for cv2."""
    u, v = ((p + 0.5) * scale - 0.5 for p in (u, v))
    return round(u * 2**_SHIFT), round(v * 2**_SHIFT)


def _draw_point(
    canvas: np.ndarray, centre: tuple[int, int], colour: Colour, radius: float, filled: bool
) -> None:
    """Draw a disc or a ring, outlined."""
    outline = max(1.5, radius / 3)
    outer, inner = (round(r * 2**_SHIFT) for r in (radius + outline, radius))
    if filled:
        cv2.circle(canvas, centre, outer, OUTLINE, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(canvas, centre, inner, colour, -1, cv2.LINE_AA, _SHIFT)
        return
    thickness = max(1, round(radius / 2.5))
    cv2.circle(canvas, centre, inner, OUTLINE, thickness + 2, cv2.LINE_AA, _SHIFT)
    cv2.circle(canvas, centre, inner, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_trails(
    canvas: np.ndarray, history: list[np.ndarray], threshold: float, scale: int, radius: float
) -> None:
    """Join consecutive keypoints by lines, thinner than the points and without an outline."""
    shape = (canvas.shape[0] // scale, canvas.shape[1] // scale)
    thickness = max(1, round(radius / 3))
    for before, after in itertools.pairwise(history):
        for index, ends in enumerate(zip(before, after, strict=True)):
            if all(_inside(u, v, shape) and c >= threshold for u, v, c in ends):
                start, stop = (_fixed_point(u, v, scale) for u, v, _ in ends)
                colour = keypoint_colour(index)
                cv2.line(canvas, start, stop, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_skeleton(
    canvas: np.ndarray,
    keypoints: np.ndarray,
    skeleton: Sequence[Edge],
    threshold: float,
    scale: int,
    radius: float,
) -> None:
    """Draw edges as light lines with a dark rim, all rims beneath all lines."""
    shape = (canvas.shape[0] // scale, canvas.shape[1] // scale)
    lines = []
    for first, second, weight in skeleton:
        ends = keypoints[[first, second]]
        if all(_inside(u, v, shape) and c >= threshold for u, v, c in ends):
            start, stop = (_fixed_point(u, v, scale) for u, v, _ in ends)
            lines.append((start, stop, max(1, round(0.8 * radius * weight))))
    for rim, colour in ((2, OUTLINE), (0, EDGE_COLOUR)):
        for start, stop, thickness in lines:
            cv2.line(canvas, start, stop, colour, thickness + rim, cv2.LINE_AA, _SHIFT)


def _write(
    canvas: np.ndarray, text: str, centre: tuple[int, int], colour: Colour, radius: float
) -> None:
    """Write a label to the right of a keypoint, outlined by dark copies shifted each way."""
    size = max(0.3, radius / 14)
    left = round(centre[0] / 2**_SHIFT + 2 * radius)
    base = round(centre[1] / 2**_SHIFT + radius / 2)
    shifts = [(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1) if (dx, dy) != (0, 0)]
    for dx, dy in [*shifts, (0, 0)]:
        ink = colour if (dx, dy) == (0, 0) else OUTLINE
        corner = (left + dx, base + dy)
        cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)
