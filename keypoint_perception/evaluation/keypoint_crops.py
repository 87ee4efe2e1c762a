"""Image crops around each keypoint, from frames of the whole recording."""

from __future__ import annotations

import cv2
from keypoint_perception.drawing import keypoint_colour, tile_images
from keypoint_perception.evaluation.stream_samples import EvenSample
import numpy as np

CROP_PX = 96
_COLUMNS = 4
# Half the side of a crop's field of view, as a share of the image's longer side.
REACH = 0.11


class KeypointCrops:
    """
    Crops around every keypoint, from frames evenly spaced over the recording.

    :param frames: crops per keypoint
    """

    def __init__(self, frames: int = 8) -> None:
        self._sample: EvenSample[list[np.ndarray]] = EvenSample(frames)

    def add(self, rgb: np.ndarray, keypoints: np.ndarray) -> None:
        """
        Offer the next frame.

        :param keypoints: u, v in px of ``rgb`` and confidence, (K, 3)
        """
        self._sample.add(lambda: [crop(rgb, u, v) for u, v in keypoints[:, :2]])

    def strip(self, keypoint: int) -> np.ndarray:
        """Return a keypoint's crops, four in a row, each with a marker at its centre."""
        crops = [frame[keypoint].copy() for frame in self._sample.items()]
        centre = (CROP_PX // 2, CROP_PX // 2)
        for image in crops:
            cv2.circle(image, centre, 5, (16, 16, 16), 3, cv2.LINE_AA)
            cv2.circle(image, centre, 5, keypoint_colour(keypoint), 1, cv2.LINE_AA)
        return tile_images(crops, _COLUMNS)


def crop(rgb: np.ndarray, u: float, v: float) -> np.ndarray:
    """
    Return the surroundings of a position, CROP_PX px wide and high.

    Beyond the image its border is repeated. A position that is NaN gives a black crop.
    """
    if not np.isfinite(u + v):
        return np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    scale = CROP_PX / (2 * REACH * max(rgb.shape[:2]))
    middle = (CROP_PX - 1) / 2
    matrix = np.array([[scale, 0, middle - scale * u], [0, scale, middle - scale * v]])
    return cv2.warpAffine(
        np.ascontiguousarray(rgb),
        matrix,
        (CROP_PX, CROP_PX),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
