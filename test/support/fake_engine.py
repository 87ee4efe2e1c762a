"""An engine without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from keypoint_perception.landmark_map import Landmarks
from keypoint_perception.pose_prior import PosePrior
import numpy as np


class FakeEngine:
    """
    Returns what a function returns.

    The function may also wait for an event of the test, or raise what a library would raise.

    :param answer: images (N, H, W, 3) uint8 -> keypoints (N, K, 3) float32
    :param landmarks: keypoints (N, K, 3) -> landmarks (N, L, 3) float32
    """

    name = 'fake'
    description = 'fake engine'

    def __init__(
        self,
        answer: Callable[[np.ndarray], np.ndarray],
        *,
        input_hw: tuple[int, int] = (96, 128),
        keypoint_names: Sequence[str] = ('kp0', 'kp1', 'kp2'),
        skeleton: Sequence[tuple[int, int, float]] = (),
        landmark_names: Sequence[str] = (),
        landmarks: Callable[[np.ndarray], np.ndarray] = lambda keypoints: keypoints[:, :0],
        pose_prior: PosePrior | None = None,
        landmark_map: Landmarks | None = None,
    ) -> None:
        self._answer = answer
        self.input_hw = input_hw
        self.keypoint_names = tuple(keypoint_names)
        self.skeleton = tuple(skeleton)
        self.grey_range = (0, 65535)
        self.pose_prior = pose_prior
        self.landmark_map = landmark_map
        self.landmark_names = tuple(landmark_names)
        self._landmarks = landmarks
        self.closed = False

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the function's answer."""
        return self._answer(images)

    def run_with_landmarks(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the functions' answers."""
        keypoints = self._answer(images)
        return keypoints, self._landmarks(keypoints)

    def close(self) -> None:
        """Remember that the engine was closed."""
        self.closed = True
