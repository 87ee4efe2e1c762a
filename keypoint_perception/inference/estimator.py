"""An image as received -> its keypoints, in its own pixels."""

from __future__ import annotations

from collections.abc import Sequence

from keypoint_perception.errors import EngineError
from keypoint_perception.images import fit_image
from keypoint_perception.inference.engine import Engine
from keypoint_perception.keypoints import Fit
import numpy as np

# Cameras of one robot have few sizes; a stream that changes size with every frame must not fill
# the memory.
MAX_SIZES = 8


class Estimator:
    """
    Fits images to an engine's input and brings its answer back.

    Not for several threads at once: the buffers are kept from image to image.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.input_hw = engine.input_hw
        self.keypoint_names = engine.keypoint_names
        self.skeleton = engine.skeleton
        self._places: dict[tuple[int, int], tuple[Fit, np.ndarray]] = {}

    def estimate(self, rgb: np.ndarray) -> np.ndarray:
        """
        Return the keypoints of one image.

        :param rgb: (H, W, 3) uint8
        :return: u, v in px of the image, confidence in [0, 1]; (K, 3) float32
        :raises EncodingError: if the image has no pixels
        :raises EngineError: if the engine fails, or answers with anything but finite numbers
        """
        fit, batch = self._place(rgb.shape[:2])
        fit_image(rgb, fit, out=batch[0])
        return self._bring_back(self._run(batch)[0], fit)

    def estimate_batch(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the keypoints of several images at once; their sizes may differ."""
        if not images:
            return []
        fits = [Fit(rgb.shape[:2], self.input_hw) for rgb in images]
        batch = np.zeros((len(images), *self.input_hw, 3), np.uint8)
        for rgb, fit, place in zip(images, fits, batch, strict=True):
            fit_image(rgb, fit, out=place)
        answers = self._run(batch)
        return [self._bring_back(a, fit) for a, fit in zip(answers, fits, strict=True)]

    def _place(self, image_hw: tuple[int, int]) -> tuple[Fit, np.ndarray]:
        """Return how images of a size are fitted, and the buffer for it, (1, h, w, 3)."""
        if image_hw not in self._places:
            if len(self._places) >= MAX_SIZES:
                self._places.pop(next(iter(self._places)))
            buffer = np.zeros((1, *self.input_hw, 3), np.uint8)
            self._places[image_hw] = (Fit(image_hw, self.input_hw), buffer)
        return self._places[image_hw]

    def _run(self, batch: np.ndarray) -> np.ndarray:
        answers = self.engine.run(batch)
        expected = (len(batch), len(self.keypoint_names), 3)
        if answers.shape != expected:
            msg = (
                f'Engine {self.engine.name} answered with shape {answers.shape}, expected '
                f'{expected}; export the model again.'
            )
            raise EngineError(msg)
        return answers

    def _bring_back(self, answer: np.ndarray, fit: Fit) -> np.ndarray:
        finite = np.isfinite(answer).all(axis=-1)
        if not finite.all():
            names = [n for n, good in zip(self.keypoint_names, finite, strict=True) if not good]
            msg = (
                f'Engine {self.engine.name} answered with NaN or infinity for '
                f'{", ".join(names)}; the network is broken, train or export it again.'
            )
            raise EngineError(msg)
        keypoints = np.empty(answer.shape, np.float32)
        keypoints[:, :2] = fit.to_image(answer[:, :2])
        keypoints[:, 2] = answer[:, 2]
        return keypoints
