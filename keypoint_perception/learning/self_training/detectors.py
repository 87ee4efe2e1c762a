"""
Detectors of candidates: where an image has points that can be found again.

Each is a function from an image (H, W, 3) uint8 to a response (H, W) float32 in [0, 1], whose
local maxima are the candidates (:func:`peaks`). Here are those that look at one image alone:

``corners``: the smaller eigenvalue of the structure tensor (Shi, Tomasi 1994), which is summed
over the colour channels (Di Zenzo 1986): the corner of a red part on a brown table has hardly any
contrast in grey. Points of edges are excluded, since they look like their neighbours.

``ours``: homographic adaptation (DeTone, Malisiewicz, Rabinovich: SuperPoint, 2018,
https://arxiv.org/abs/1712.07629). Corners are detected in warped copies of an image and
transformed back; the response is the share of the copies in which a corner is found within a
pixel. SuperPoint learns this response; here it is used itself, so no weights are needed.

``describe`` uses :func:`texture`, all points that are no noise, of which the descriptors choose
(:mod:`.contrast`).
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Detector = Callable[[np.ndarray], np.ndarray]

# Side of the structure tensor's window, px.
BLOCK = 5
# The smaller eigenvalue of a corner whose sides differ by about 6 grey levels, which may be noise,
# and by 128.
NOISE, FULL = 2e-4, 0.1
# An edge has a smaller eigenvalue of less than this share of the larger one.
EDGE = 0.08
# Warped copies of an image, their largest rotation, scaling and perspective, and how far apart
# detections may be that count as the same, px. A pixel must be shown by some of the copies.
COPIES, LEAST_COPIES = 20, 5
ANGLE_RAD, SCALE, PERSPECTIVE = np.pi, 0.3, 0.15
SAME_PX = 1
# Pixels at the border that have no complete neighbourhood.
RIM = 2


def corners(image: np.ndarray) -> np.ndarray:
    """Return the strength of corners, from noise at 0 to full contrast at 1, logarithmically."""
    smaller, larger = _eigenvalues(image)
    return np.where(smaller < EDGE * larger, 0, _strength(smaller)).astype(np.float32)


def texture(image: np.ndarray) -> np.ndarray:
    """Return the strength of the contrast in every direction, likewise."""
    return _strength(_eigenvalues(image)[0])


def adapted_corners(image: np.ndarray) -> np.ndarray:
    """Return the share of warped copies in which a corner is found again at each pixel."""
    height, width = image.shape[:2]
    found, seen = np.zeros((2, height, width), np.float32)
    kernel = np.ones((2 * SAME_PX + 1,) * 2, np.uint8)
    # the same copies for every image, so that a frame has the same candidates in every run
    rng = np.random.default_rng(0)
    for _ in range(COPIES):
        there = _random_homography(rng, height, width)
        copy = cv2.warpPerspective(image, there, (width, height), borderMode=cv2.BORDER_REPLICATE)
        xy = peaks(corners(copy), count=height * width, spacing=3)[:, :2]
        marks = np.zeros((height, width), np.float32)
        if len(xy):
            back = cv2.perspectiveTransform(xy[None].astype(np.float64), np.linalg.inv(there))[0]
            column, row = back.round().astype(int).T
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            marks[row[inside], column[inside]] = 1
        found += cv2.dilate(marks, kernel)
        everywhere = np.ones((height, width), np.float32)
        shown = cv2.warpPerspective(everywhere, there, (width, height))
        back_flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen += cv2.warpPerspective(shown, there, (width, height), flags=back_flags)
    share = cv2.GaussianBlur(found, (0, 0), 0.8) / np.maximum(seen, LEAST_COPIES)
    return np.clip(share, 0.0, 1.0).astype(np.float32)


def peaks(response: np.ndarray, *, count: int, spacing: int) -> np.ndarray:
    """
    Return the local maxima of a response, the strongest first, (n, 3): x, y in px and response.

    :param count: at most so many
    :param spacing: least distance along an axis, px
    """
    kernel = np.ones((2 * spacing - 1,) * 2, np.uint8)
    inner = np.zeros_like(response)
    inner[RIM:-RIM, RIM:-RIM] = response[RIM:-RIM, RIM:-RIM]
    row, column = np.nonzero((inner > 0) & (inner == cv2.dilate(inner, kernel)))
    kept: list[int] = []
    for i in np.argsort(-inner[row, column], kind='stable'):
        away = np.maximum(np.abs(row[kept] - row[i]), np.abs(column[kept] - column[i]))
        if len(kept) < count and (away >= spacing).all():  # a plateau is one maximum
            kept.append(int(i))
    row, column = row[kept], column[kept]
    x = column + _vertex(*(response[row, column + d] for d in (-1, 0, 1)))
    y = row + _vertex(*(response[row + d, column] for d in (-1, 0, 1)))
    return np.stack([x, y, response[row, column]], axis=1).astype(np.float32)


def _vertex(before: np.ndarray, peak: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return where the parabola through a peak and its neighbours has its vertex, px."""
    bend = 2 * peak - before - after
    return np.asarray(np.clip((after - before) / (2 * np.maximum(bend, 1e-9)), -0.5, 0.5))


def _strength(eigenvalue: np.ndarray) -> np.ndarray:
    level = np.log(np.maximum(eigenvalue, 1e-12) / NOISE) / np.log(FULL / NOISE)
    return np.asarray(np.clip(level, 0.0, 1.0), np.float32)


def _eigenvalues(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the smaller and the larger eigenvalue of the structure tensor, (H, W) each."""
    levels = image.astype(np.float32) / 255
    dx = cv2.Sobel(levels, cv2.CV_32F, 1, 0, scale=0.25)
    dy = cv2.Sobel(levels, cv2.CV_32F, 0, 1, scale=0.25)
    products = np.stack([(dx * dx).sum(-1), (dy * dy).sum(-1), (dx * dy).sum(-1)], axis=-1)
    xx, yy, xy = np.moveaxis(cv2.GaussianBlur(products, (BLOCK, BLOCK), 0), -1, 0)
    mean, half = (xx + yy) / 2, np.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    return mean - half, mean + half


def _random_homography(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a homography about the centre of an image, from it to its copy, (3, 3)."""
    angle = rng.uniform(-ANGLE_RAD, ANGLE_RAD)
    scale = np.exp(rng.uniform(-1, 1) * np.log1p(SCALE))
    tilt = rng.uniform(-PERSPECTIVE, PERSPECTIVE, 2) / (max(height, width) / 2)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [*tilt, 1.0]])
    middle = np.eye(3)
    middle[:2, 2] = (width - 1) / 2, (height - 1) / 2
    return np.asarray(middle @ turn @ np.linalg.inv(middle))
