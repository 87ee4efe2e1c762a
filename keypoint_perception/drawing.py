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
# Positions on a canvas are passed to cv2 with this many fractional bits.
_SHIFT = 4
Centre = tuple[int, int]


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
    height, width = rgb.shape[:2]
    canvas: np.ndarray = np.array(rgb, np.uint8, order='C')  # contiguous, for cv2
    if scale != 1:
        size = (width * scale, height * scale)
        canvas = cv2.resize(canvas, size, interpolation=cv2.INTER_LINEAR)
    radius = max(2.0, 0.008 * float(np.hypot(*canvas.shape[:2])))
    confident = _centres(keypoints, (height, width), scale, threshold)
    if trails is not None:
        history = [_centres(earlier, (height, width), scale, threshold) for earlier in trails]
        _draw_trails(canvas, [*history, confident], radius)
    _draw_skeleton(canvas, confident, skeleton, radius)
    for index, centre in enumerate(_centres(keypoints, (height, width), scale)):
        if centre is None:
            continue
        _draw_point(canvas, centre, keypoint_colour(index), radius, confident[index] is not None)
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


def _centres(
    keypoints: np.ndarray, image_hw: tuple[int, int], scale: int, threshold: float | None = None
) -> list[Centre | None]:
    """Return positions on the canvas, None for keypoints outside the image or not confident."""
    height, width = image_hw
    centres: list[Centre | None] = []
    for u, v, confidence in np.asarray(keypoints, np.float64).reshape(-1, 3).tolist():
        inside = -0.5 <= u <= width - 0.5 and -0.5 <= v <= height - 0.5
        if inside and (threshold is None or confidence >= threshold):
            u, v = (((p + 0.5) * scale - 0.5) * 2**_SHIFT for p in (u, v))
            centres.append((round(u), round(v)))
        else:
            centres.append(None)
    return centres


def _draw_point(
    canvas: np.ndarray, centre: Centre, colour: Colour, radius: float, filled: bool
) -> None:
    """Draw a disc or a ring, outlined."""
    outer, inner = (round(r * 2**_SHIFT) for r in (radius + max(1.5, radius / 3), radius))
    thickness = max(1, round(radius / 2.5))
    if filled:
        circles = ((outer, OUTLINE, -1), (inner, colour, -1))
    else:
        circles = ((inner, OUTLINE, thickness + 2), (inner, colour, thickness))
    for size, ink, width in circles:
        cv2.circle(canvas, centre, size, ink, width, cv2.LINE_AA, _SHIFT)


def _draw_trails(canvas: np.ndarray, history: list[list[Centre | None]], radius: float) -> None:
    """Join consecutive keypoints by lines, thinner than the points and without an outline."""
    thickness = max(1, round(radius / 3))
    for before, after in itertools.pairwise(history):
        for index, (start, stop) in enumerate(zip(before, after, strict=True)):
            if start and stop:
                colour = keypoint_colour(index)
                cv2.line(canvas, start, stop, colour, thickness, cv2.LINE_AA, _SHIFT)


def _draw_skeleton(
    canvas: np.ndarray, centres: list[Centre | None], skeleton: Sequence[Edge], radius: float
) -> None:
    """Draw edges as light lines with a dark rim, all rims beneath all lines."""
    for rim, colour in ((2, OUTLINE), (0, EDGE_COLOUR)):
        for first, second, weight in skeleton:
            start, stop = centres[first], centres[second]
            if start and stop:
                thickness = max(1, round(0.8 * radius * weight)) + rim
                cv2.line(canvas, start, stop, colour, thickness, cv2.LINE_AA, _SHIFT)


def _write(canvas: np.ndarray, text: str, centre: Centre, colour: Colour, radius: float) -> None:
    """Write a label to the right of a keypoint, outlined by dark copies shifted each way."""
    size = max(0.3, radius / 14)
    left = round(centre[0] / 2**_SHIFT + 2 * radius)
    base = round(centre[1] / 2**_SHIFT + radius / 2)
    shifts = itertools.product((-1, 0, 1), repeat=2)
    for dx, dy in sorted(shifts, key=lambda shift: shift == (0, 0)):
        ink = colour if (dx, dy) == (0, 0) else OUTLINE
        corner = (left + dx, base + dy)
        cv2.putText(canvas, text, corner, cv2.FONT_HERSHEY_SIMPLEX, size, ink, 1, cv2.LINE_AA)
