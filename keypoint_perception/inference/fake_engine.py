"""An engine without a network, for tests of what stands round an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


class FakeEngine:
    """
    Answers what a function says.

    The function is also the place to be slow on purpose: it may wait for an event of the test,
    and it may raise what a library would raise.

    :param answer: images (N, H, W, 3) uint8 -> keypoints (N, K, 3) float32
    :param name_points: keypoints (N, K, 3) -> named points (N, L, 3) float32
    """

    name = 'fake'
    description = 'fake engine, answers a function'

    def __init__(
        self,
        answer: Callable[[np.ndarray], np.ndarray],
        *,
        input_hw: tuple[int, int] = (96, 128),
        keypoint_names: Sequence[str] = ('kp0', 'kp1', 'kp2'),
        skeleton: Sequence[tuple[int, int, float]] = (),
        landmark_names: Sequence[str] = (),
        name_points: Callable[[np.ndarray], np.ndarray] = lambda keypoints: keypoints[:, :0],
    ) -> None:
        self._answer = answer
        self.input_hw = input_hw
        self.keypoint_names = tuple(keypoint_names)
        self.skeleton = tuple(skeleton)
        self.landmark_names = tuple(landmark_names)
        self._name_points = name_points
        self.closed = False

    def run(self, images: np.ndarray) -> np.ndarray:
        """Return the function's answer."""
        return self._answer(images)

    def run_named(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the functions' answers."""
        keypoints = self._answer(images)
        return keypoints, self._name_points(keypoints)

    def close(self) -> None:
        """Remember that the engine was closed."""
        self.closed = True
