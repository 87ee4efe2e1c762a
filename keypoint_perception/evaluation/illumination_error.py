"""Illumination error: how far keypoints move when only exposure and colour change."""

from __future__ import annotations

from collections.abc import Sequence

from keypoint_perception.evaluation.equivariance_error import Detector
from keypoint_perception.keypoints import diagonal_px
import numpy as np

# Largest factor, either way, of the exposure and of each colour channel.
EXPOSURE, BALANCE = 1.25, 1.1


def illumination_error(
    detect: Detector, images: Sequence[np.ndarray], *, lights: int = 4, seed: int = 0
) -> float:
    """
    Return the mean keypoint displacement under random lighting, % of the diagonal.

    The exposure is multiplied by 0.8 to 1.25 and each colour channel by 0.91 to 1.1, both
    log-uniform; values saturate. NaN without images.

    :param detect: list of B RGB images -> (B, K, 3) u, v in px and confidence
    :param images: (H, W, 3) uint8 each
    :param lights: random lightings per image
    """
    generator = np.random.default_rng(seed)
    errors = []
    for image in images:
        exposures = EXPOSURE ** generator.uniform(-1, 1, (lights, 1))
        balances = BALANCE ** generator.uniform(-1, 1, (lights, 3))
        lit = [apply_gains(image, gains) for gains in exposures * balances]
        found = np.asarray(detect([image, *lit]))[..., :2]
        distance = np.linalg.norm(found[1:] - found[0], axis=-1)
        errors.append(100 * distance.mean() / diagonal_px(*image.shape[:2]))
    return float(np.mean(errors)) if errors else float('nan')


def apply_gains(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with its channels multiplied by gains (3,)."""
    scaled: np.ndarray = np.rint(image * gains).clip(0, 255)
    return scaled.astype(np.uint8)
