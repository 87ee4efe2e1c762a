"""Keypoints must stay where they are in another light: the error under other exposures."""

from __future__ import annotations

from collections.abc import Sequence

from keypoint_perception.evaluation.equivariance_error import Detector
from keypoint_perception.keypoints import diagonal_px
import numpy as np

# Largest factor of the exposure, and of each colour against the others, either way.
EXPOSURE, BALANCE = 1.25, 1.1


def illumination_error(
    detect: Detector, images: Sequence[np.ndarray], *, lights: int = 4, seed: int = 0
) -> float:
    """
    Return how far keypoints go when only the light changes, mean in % of the diagonal.

    Exposure and white balance are drawn at random, evenly in their logarithms: up to a quarter
    brighter or a fifth darker, each colour up to a tenth stronger or weaker besides. What gets
    brighter than white is white. NaN without images.

    :param detect: list of B RGB images -> (B, K, 3) u, v in px and confidence
    :param images: (H, W, 3) uint8 each
    :param lights: drawn for each image
    """
    generator = np.random.default_rng(seed)
    errors = []
    for image in images:
        exposures = EXPOSURE ** generator.uniform(-1, 1, (lights, 1))
        balances = BALANCE ** generator.uniform(-1, 1, (lights, 3))
        lit = [light(image, gains) for gains in exposures * balances]
        found = np.asarray(detect([image, *lit]))[..., :2]
        distance = np.linalg.norm(found[1:] - found[0], axis=-1)
        errors.append(100 * distance.mean() / diagonal_px(*image.shape[:2]))
    return float(np.mean(errors)) if errors else float('nan')


def light(image: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """Return an image (H, W, 3) uint8 with its colours multiplied by gains (3,)."""
    return np.rint(image * gains).clip(0, 255).astype(np.uint8)
