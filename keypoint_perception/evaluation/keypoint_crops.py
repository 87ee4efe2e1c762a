"""What each keypoint follows: the picture around it, in frames of the whole recording."""

from __future__ import annotations

import cv2
from keypoint_perception.drawing import keypoint_colour, tile_images
from keypoint_perception.sampling import evenly_spaced
import numpy as np

CROP_PX = 96
_COLUMNS = 4
# Half the side of what a crop shows, as a share of the image's longer side.
REACH = 0.11


class KeypointCrops:
    """
    Crops around every keypoint, from frames spread evenly over a recording of unknown length.

    Holds at most twice as many frames as are shown: when they are full, every second one goes,
    and from then on every second one is taken.

    :param frames: crops shown of each keypoint
    """

    def __init__(self, frames: int = 8) -> None:
        self._frames = frames
        self._every, self._seen = 1, 0
        self._crops: list[list[np.ndarray]] = []  # by frame, by keypoint

    def add(self, rgb: np.ndarray, keypoints: np.ndarray) -> None:
        """
        Take in the next frame.

        :param keypoints: u, v in px of ``rgb`` and confidence, (K, 3)
        """
        if self._seen % self._every == 0:
            if len(self._crops) == 2 * self._frames:
                self._crops = self._crops[::2]
                self._every *= 2
            if self._seen % self._every == 0:
                self._crops.append([crop(rgb, *place[:2]) for place in keypoints])
        self._seen += 1

    def strip(self, keypoint: int) -> np.ndarray:
        """Return a keypoint's crops, four in a row, with its mark in the middle of each."""
        chosen = evenly_spaced(np.arange(len(self._crops)), self._frames)
        pictures = [self._crops[i][keypoint].copy() for i in chosen]
        centre = (CROP_PX // 2, CROP_PX // 2)
        for picture in pictures:
            cv2.circle(picture, centre, 5, (16, 16, 16), 3, cv2.LINE_AA)
            cv2.circle(picture, centre, 5, keypoint_colour(keypoint), 1, cv2.LINE_AA)
        return tile_images(pictures, _COLUMNS)


def crop(rgb: np.ndarray, u: float, v: float) -> np.ndarray:
    """
    Return the surroundings of a position, CROP_PX px wide and high.

    What lies outside the image repeats its border. A position that is no number gives black.
    """
    if not np.isfinite(u + v):
        return np.zeros((CROP_PX, CROP_PX, 3), np.uint8)
    scale = CROP_PX / (2 * REACH * max(rgb.shape[:2]))
    middle = (CROP_PX - 1) / 2
    move = np.array([[scale, 0, middle - scale * u], [0, scale, middle - scale * v]])
    return cv2.warpAffine(
        np.ascontiguousarray(rgb),
        move,
        (CROP_PX, CROP_PX),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
