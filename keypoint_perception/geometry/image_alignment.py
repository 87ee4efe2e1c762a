"""
The homography between two images of one camera, to some hundredths of a pixel.

A homography is exact for a camera that turns or zooms, and for a flat scene; elsewhere it follows
the surface that has most of the texture. For the texture x of a keyframe K, with weights w that
ignore what moves differently::

    H = argmin sum_x w |F(H x) - K(x)|^2        H x: the position of x in the image F

- Images are compared by their local contrast, so that light and exposure may differ, also from row
  to row.
- The start is given: no motion, or that of corners (:func:`corner_motion`: Lucas-Kanade with a
  check in both directions, then MAGSAC), as pixels match over two pixels only.
- It is refined by Gauss-Newton on the pixels (inverse composition, Baker and Matthews 2004,
  https://doi.org/10.1023/B:VISI.0000011205.11775.fd) with Tukey's weights.

Distances are pixels of the compared images.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

# Standard deviations of the blurs before and within the local contrast, px; grey levels below
# which contrast is noise.
BLUR, NEIGHBOURHOOD, LEAST_CONTRAST = 0.8, 5.0, 6.0
# Pixels of a keyframe that are compared, those with most texture in each of TILES x TILES tiles;
# the last row of the array that OpenCV reads them by, which is fast only if it is no column.
TEXTURE_PIXELS, TILES, ROW = 2304, 8, 32
# Contrast per pixel below which there is no texture, and the least number of pixels with it.
LEAST_GRADIENT, LEAST_PIXELS = 0.12, 64
# A pixel is explained if its contrast differs by less than this, and by less than this many pixels
# of displacement would change it.
NOISE, TOLERANCE_PX = 0.15, 0.35
# Gauss-Newton steps, and the motion that ends them, px.
STEPS, CONVERGED_PX = 12, 0.02
# Tukey's limit in standard deviations, and its bounds in units of the local contrast.
CUTOFF, LEAST_LIMIT, MOST_LIMIT = 4.0, 0.12, 1.5
# Corners that are followed, and the largest error of following them back, px.
CORNERS, LEAST_CORNERS, BACK_PX = 160, 10, 0.5
# Between these factors the area of the image may change.
LEAST_AREA, MOST_AREA = 0.2, 5.0


class Keyframe(NamedTuple):
    """
    An image that others are aligned to.

    :param points: where it has texture, (n, 2) px
    :param values: local contrast there, (n,)
    :param slope: magnitude of its gradient there, (n,) per px
    :param jacobian: its change with the eight parameters, (n, 8) per px
    """

    hw: tuple[int, int]
    points: np.ndarray
    values: np.ndarray
    slope: np.ndarray
    jacobian: np.ndarray


class Alignment(NamedTuple):
    """
    A homography from a keyframe to an image.

    :param view: share of the keyframe's texture that is in view
    :param explained: share of the texture in view that the homography explains
    :param residual_px: median displacement that is left where it does
    """

    homography: np.ndarray
    view: float
    explained: float
    residual_px: float


def local_contrast(grey: np.ndarray) -> np.ndarray:
    """Return an image (H, W) relative to mean and deviation of its neighbourhood, float32."""
    level = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), BLUR)
    level = level - cv2.GaussianBlur(level, (0, 0), NEIGHBOURHOOD)
    variance = cv2.GaussianBlur(level * level, (0, 0), NEIGHBOURHOOD)
    return np.asarray(level / (np.sqrt(variance) + LEAST_CONTRAST), np.float32)


def make_keyframe(contrast: np.ndarray) -> Keyframe:
    """Return a keyframe of the local contrast (H, W) of an image."""
    height, width = contrast.shape
    across = cv2.Sobel(contrast, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(contrast, cv2.CV_32F, 0, 1, scale=1 / 8)
    slope = np.hypot(across, down)
    rows, columns = _textured_pixels(slope)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    u, v = transform(_to_unit((height, width)), points).T
    x, y = across[rows, columns], down[rows, columns]
    along = x * u + y * v
    # of I + [[p0, p1, p2], [p3, p4, p5], [p6, p7, 0]] in half sides from the centre
    jacobian = np.stack([x * u, x * v, x, y * u, y * v, y, -along * u, -along * v], axis=1)
    values = contrast[rows, columns]
    return Keyframe((height, width), points, values, slope[rows, columns], jacobian)


def _textured_pixels(slope: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of the pixels with most texture in each tile."""
    margin, most = 2, TEXTURE_PIXELS // TILES**2
    row_edges, column_edges = (
        np.linspace(margin, max(margin, side - margin), TILES + 1).round().astype(int)
        for side in slope.shape
    )
    found = []
    for top, bottom in pairwise(row_edges):
        for left, right in pairwise(column_edges):
            tile = slope[top:bottom, left:right]
            strongest = np.argsort(-tile, axis=None, kind='stable')[:most]
            rows, columns = np.unravel_index(strongest, tile.shape)
            enough = tile[rows, columns] > LEAST_GRADIENT
            found.append(np.stack([rows[enough] + top, columns[enough] + left]))
    rows, columns = np.concatenate(found, axis=1)
    return rows, columns


def align(keyframe: Keyframe, contrast: np.ndarray, start: np.ndarray) -> Alignment:
    """
    Return the homography from a keyframe to an image of the same size, near a start.

    :param contrast: local contrast of the image, (H, W)
    """
    if not has_texture(keyframe):
        return Alignment(start, 1.0, 1.0, 0.0)
    to_unit = _to_unit(keyframe.hw)
    from_unit = np.linalg.inv(to_unit)
    homography = start / start[2, 2]
    for _ in range(STEPS):
        residual, inside = residuals(keyframe, contrast, homography)
        if inside.sum() < LEAST_PIXELS:
            break
        weighted = keyframe.jacobian * _weights(residual, inside)[:, None]
        curvature = weighted.T @ keyframe.jacobian
        # what the texture does not determine stays as it is
        curvature[np.diag_indices(8)] += 1e-3 * np.trace(curvature) / 8 + 1e-9
        step = np.linalg.solve(curvature, weighted.T @ residual)  # px
        change = np.append(step, 0.0).reshape(3, 3) / (max(keyframe.hw) / 2)
        homography = homography @ np.linalg.inv(from_unit @ (np.eye(3) + change) @ to_unit)
        homography /= homography[2, 2]
        if np.abs(step).max() < CONVERGED_PX:
            break
    return quality(keyframe, contrast, homography)


def has_texture(keyframe: Keyframe) -> bool:
    """Return whether images can be aligned to a keyframe: any homography suits a blank one."""
    return len(keyframe.points) >= LEAST_PIXELS


def quality(keyframe: Keyframe, contrast: np.ndarray, homography: np.ndarray) -> Alignment:
    """Return how well a given homography aligns an image with a keyframe that has texture."""
    residual, inside = residuals(keyframe, contrast, homography)
    if not is_plausible(homography, keyframe.hw) or inside.sum() < LEAST_PIXELS:
        return Alignment(homography, 0.0, 0.0, 0.0)
    good = is_explained(keyframe, residual, inside)
    left = np.abs(residual[good]) / keyframe.slope[good]
    explained = float(good.sum() / inside.sum())
    return Alignment(
        homography, float(inside.mean()), explained, float(np.median(left)) if good.any() else 0.0
    )


def is_explained(keyframe: Keyframe, residual: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return which of a keyframe's points are in view and look alike, (n,) bool."""
    return np.asarray(inside & (np.abs(residual) < NOISE + TOLERANCE_PX * keyframe.slope))


def gained_tiles(keyframe: Keyframe, contrast: np.ndarray, homography: np.ndarray) -> int:
    """Return how many of TILES x TILES tiles a homography explains where no motion does not."""
    fitted = is_explained(keyframe, *residuals(keyframe, contrast, homography))
    still = is_explained(keyframe, *residuals(keyframe, contrast, np.eye(3)))
    gained = keyframe.points[fitted & ~still]
    tiles = (gained * TILES / (keyframe.hw[1], keyframe.hw[0])).astype(int)
    return len(np.unique(tiles, axis=0))


def residuals(
    keyframe: Keyframe, contrast: np.ndarray, homography: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return an image's contrast minus that of the keyframe's points, and which are in view."""
    height, width = contrast.shape
    count = len(keyframe.points)
    xy = transform(homography, keyframe.points)
    inside = np.asarray(((xy >= 1) & (xy <= (width - 2, height - 2))).all(axis=1))
    rows = np.zeros((-(-max(count, 1) // ROW) * ROW, 2), np.float32)
    rows[:count] = np.where(inside[:, None], xy, 0.0)
    x, y = np.moveaxis(rows.reshape(-1, ROW, 2), 2, 0)
    seen = cv2.remap(contrast, x, y, cv2.INTER_CUBIC).reshape(-1)[:count]
    return np.where(inside, seen - keyframe.values, 0.0), inside


def _weights(residual: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return Tukey's weights, which are zero where something else moves."""
    deviation = 1.4826 * np.median(np.abs(residual[inside]))
    ratio = residual / np.clip(CUTOFF * deviation, LEAST_LIMIT, MOST_LIMIT)
    return np.asarray(np.where(inside, np.clip(1 - ratio * ratio, 0, None) ** 2, 0.0))


def corner_motion(before: np.ndarray, after: np.ndarray) -> np.ndarray | None:
    """Return the homography that most corners of a grey image (H, W) follow, None without."""
    corners = cv2.goodFeaturesToTrack(before, CORNERS, 0.01, 4)
    if corners is None or len(corners) < LEAST_CORNERS:
        return None
    moved, found = _follow(before, after, corners)
    back, found_back = _follow(after, before, moved)
    good = found & found_back & (np.linalg.norm(back - corners, axis=-1)[:, 0] < BACK_PX)
    if good.sum() < LEAST_CORNERS:
        return None
    homography, _ = cv2.findHomography(corners[good], moved[good], cv2.USAC_MAGSAC, 1.0)
    if homography is None or not is_plausible(homography, before.shape):
        return None
    return np.asarray(homography)


def _follow(
    before: np.ndarray, after: np.ndarray, corners: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    # OpenCV's stubs do not know that the initial positions may be None
    moved, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        before, after, corners, None, winSize=(11, 11), maxLevel=3
    )
    return moved, found[:, 0] > 0


def transform(homography: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return positions (n, 2) px under a homography."""
    mapped = points @ homography[:, :2].T + homography[:, 2]
    return np.asarray(mapped[:, :2] / mapped[:, 2:])


def corners_of(hw: tuple[int, ...]) -> np.ndarray:
    """Return the corners of an image in cyclic order, (4, 2) px."""
    height, width = hw
    right, bottom = width - 1.0, height - 1.0
    return np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]])


def displacement_px(homography: np.ndarray, hw: tuple[int, ...]) -> float:
    """Return the root mean square displacement of an image's corners, px."""
    corners = corners_of(hw)
    moved = transform(homography, corners) - corners
    return float(np.sqrt(np.square(moved).sum(axis=1).mean()))


def is_plausible(homography: np.ndarray, hw: tuple[int, ...]) -> bool:
    """Return whether a homography neither folds an image nor changes its size extremely."""
    corners = corners_of(hw)
    depth = corners @ homography[2, :2] + homography[2, 2]
    if not np.isfinite(homography).all() or depth.min() <= 0:
        return False
    sides = np.roll(moved := transform(homography, corners), -1, axis=0) - moved
    after = np.roll(sides, -1, axis=0)
    turns = sides[:, 0] * after[:, 1] - sides[:, 1] * after[:, 0]  # twice a triangle each
    area = turns / ((hw[0] - 1) * (hw[1] - 1))
    return bool((area > LEAST_AREA).all() and (area < MOST_AREA).all())


def _to_unit(hw: tuple[int, int]) -> np.ndarray:
    """Return the map from pixels to half sides from the image centre, (3, 3)."""
    height, width = hw
    half = max(hw) / 2
    middle = np.array([(width - 1) / 2, (height - 1) / 2]) / half
    return np.array([[1 / half, 0, -middle[0]], [0, 1 / half, -middle[1]], [0, 0, 1]])
