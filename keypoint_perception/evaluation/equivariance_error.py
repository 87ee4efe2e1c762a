"""Equivariance error: how well keypoints move with the image under known warps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
from keypoint_perception.keypoints import diagonal_px
import numpy as np

Detector = Callable[[list[np.ndarray]], np.ndarray]


class WarpRange(NamedTuple):
    """
    Similarity warps about the image centre; each parameter is drawn uniformly from [-x, x].

    :param log_scale: natural logarithm of the scale; 0.1 is about 10 % smaller or larger
    :param shift: share of the image's width along u and of its height along v
    """

    rotation_deg: float = 15.0
    log_scale: float = 0.1
    shift: float = 0.05


class EquivarianceError(NamedTuple):
    """
    Distance between keypoints of warped images and warped keypoints, % of the diagonal.

    :param percent: mean over all pairs, NaN without
    :param by_keypoint: the same for each keypoint, (K,)
    """

    percent: float
    by_keypoint: np.ndarray
    pairs: int


def equivariance_error(
    detect: Detector,
    images: Sequence[np.ndarray],
    *,
    warps: int = 2,
    within: WarpRange = WarpRange(),
    seed: int = 0,
) -> EquivarianceError:
    """
    Compare keypoints of warped images with the warped keypoints of the images.

    For an image I and a warp A the error of keypoint k is |A p_k(I) - p_k(A I)|. Keypoints that A
    moves out of the image are ignored. The warped image repeats the border where it has no data.

    :param detect: list of B RGB images -> (B, K, 3) u, v in px and confidence
    :param images: (H, W, 3) uint8 each
    :param warps: random warps per image
    """
    generator = np.random.default_rng(seed)
    errors = []  # (K,) each, NaN where ignored
    for image in images:
        matrices = [draw_warp(image.shape[:2], within, generator) for _ in range(warps)]
        found = np.asarray(detect([image, *(warp_image(image, m) for m in matrices)]))[..., :2]
        for matrix, again in zip(matrices, found[1:], strict=True):
            expected = warp_positions(found[0], matrix)
            distance = np.linalg.norm(expected - again, axis=-1)
            limit = np.array([image.shape[1], image.shape[0]]) - 0.5
            distance[((expected < -0.5) | (expected > limit)).any(axis=-1)] = np.nan
            errors.append(100 * distance / diagonal_px(*image.shape[:2]))
    if not errors:
        return EquivarianceError(float('nan'), np.zeros(0), 0)
    counts, sums = np.isfinite(errors).sum(axis=0), np.nansum(errors, axis=0)
    by_keypoint = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    pairs = int(counts.sum())
    return EquivarianceError(float(sums.sum() / pairs) if pairs else np.nan, by_keypoint, pairs)


def draw_warp(
    image_hw: tuple[int, int], within: WarpRange, generator: np.random.Generator
) -> np.ndarray:
    """Return a random similarity warp from image to warped image, (2, 3) px."""
    height, width = image_hw
    angle, log_scale, right, down = generator.uniform(-1, 1, 4)
    angle = np.deg2rad(angle * within.rotation_deg)
    scale = np.exp(log_scale * within.log_scale)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([width - 1, height - 1]) / 2
    shift = within.shift * np.array([right * width, down * height])
    return np.column_stack([linear, centre - linear @ centre + shift])


def warp_image(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return a warped image; cv2 has integer pixel centres too."""
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )


def warp_positions(uv: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Return positions (..., 2) moved by a warp (2, 3)."""
    moved: np.ndarray = uv @ matrix[:, :2].T + matrix[:, 2]
    return moved
