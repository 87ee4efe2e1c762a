"""An image as received -> its keypoints, in its own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from keypoint_perception.encodings import Buffers, EncodedImage
from keypoint_perception.errors import EngineError
from keypoint_perception.images import fit_image
from keypoint_perception.inference.engine import Engine
from keypoint_perception.keypoints import Fit
import numpy as np

# Cameras of one robot have few sizes; a stream that changes size with every frame must not fill
# the memory.
MAX_SIZES = 8


class Estimate(NamedTuple):
    """
    What one image holds, u, v in px of the image and confidence.

    :param keypoints: (K, 3) float32
    :param landmarks: the model's named points, (L, 3) float32; L is 0 where it names none
    """

    keypoints: np.ndarray
    landmarks: np.ndarray


class Estimator:
    """
    Fits images to an engine's input and brings its answer back.

    Not for several threads at once: the buffers are kept from image to image.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.input_hw = engine.input_hw
        self.keypoint_names = engine.keypoint_names
        self.landmark_names = engine.landmark_names
        self.skeleton = engine.skeleton
        self._fits: dict[tuple[int, int], Fit] = {}
        self._buffers = Buffers()

    def estimate(self, image: np.ndarray | EncodedImage) -> np.ndarray:
        """
        Return the keypoints of one image.

        :param image: RGB, (H, W, 3) uint8, or as it was sent, which is the shorter way
        :return: u, v in px of the image, confidence in [0, 1]; (K, 3) float32
        :raises EncodingError: if the image has no pixels
        :raises EngineError: if the engine fails, or answers with anything but finite numbers
        """
        return self.estimate_batch([image])[0]

    def estimate_named(self, image: np.ndarray | EncodedImage) -> Estimate:
        """Return the keypoints and the named points of one image; see :meth:`estimate`."""
        return self.estimate_batch_named([image])[0]

    def estimate_batch(self, images: Sequence[np.ndarray | EncodedImage]) -> list[np.ndarray]:
        """Return the keypoints of several images at once; their sizes may differ."""
        if not images:
            return []
        fits, batch = self._stack(images)
        return self._bring_back(self.engine.run(batch), self.keypoint_names, fits)

    def estimate_batch_named(self, images: Sequence[np.ndarray | EncodedImage]) -> list[Estimate]:
        """Return the keypoints and the named points of several images at once."""
        if not images:
            return []
        fits, batch = self._stack(images)
        return self._pair(self.engine.run_named(batch), fits)

    def _fit(self, image_hw: tuple[int, int]) -> Fit:
        if image_hw not in self._fits:
            if len(self._fits) >= MAX_SIZES:
                self._fits.pop(next(iter(self._fits)))
            self._fits[image_hw] = Fit(image_hw, self.input_hw)
        return self._fits[image_hw]

    def _stack(self, images: Sequence[np.ndarray | EncodedImage]) -> tuple[list[Fit], np.ndarray]:
        """Return how images are fitted, and the batch, (N, h, w, 3), in memory that is kept."""
        sizes = [i.image_hw if isinstance(i, EncodedImage) else i.shape[:2] for i in images]
        fits = [self._fit(size) for size in sizes]
        batch = self._buffers.take('batch', (len(images), *self.input_hw, 3))
        for image, fit, place in zip(images, fits, batch, strict=True):
            fit_image(image, fit, place, self._buffers)
        return fits, batch

    def _pair(self, answers: tuple[np.ndarray, np.ndarray], fits: list[Fit]) -> list[Estimate]:
        keypoints = self._bring_back(answers[0], self.keypoint_names, fits)
        landmarks = self._bring_back(answers[1], self.landmark_names, fits)
        return [Estimate(*both) for both in zip(keypoints, landmarks, strict=True)]

    def _bring_back(
        self, answers: np.ndarray, names: Sequence[str], fits: list[Fit]
    ) -> list[np.ndarray]:
        """Return the engine's answers (N, P, 3) in px of the images, after a look at them."""
        expected = (len(fits), len(names), 3)
        if answers.shape != expected:
            msg = (
                f'Engine {self.engine.name} answered with shape {answers.shape}, expected '
                f'{expected}; export the model again.'
            )
            raise EngineError(msg)
        finite = np.isfinite(answers).all(axis=(0, 2))
        if not finite.all():
            lost = [name for name, good in zip(names, finite, strict=True) if not good]
            msg = (
                f'Engine {self.engine.name} answered with NaN or infinity for '
                f'{", ".join(lost)}; the network is broken, train or export it again.'
            )
            raise EngineError(msg)
        moved = answers.astype(np.float32)
        for points, fit in zip(moved, fits, strict=True):
            points[:, :2] = fit.to_image(points[:, :2])
        return list(moved)
