"""Keypoints of images as received, in their own pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from keypoint_perception.encodings import Buffers, EncodedImage
from keypoint_perception.errors import EngineError
from keypoint_perception.images import fit_image
from keypoint_perception.inference.engine import Engine
from keypoint_perception.keypoints import Fit
import numpy as np

# The cameras of one robot have few sizes; a stream that changes size with every frame must not
# fill the memory.
MAX_SIZES = 8

Image = np.ndarray | EncodedImage


class Estimate(NamedTuple):
    """
    The points of one image: u, v in px of the image and confidence.

    :param keypoints: (K, 3) float32
    :param landmarks: (L, 3) float32; L is 0 without landmarks
    """

    keypoints: np.ndarray
    landmarks: np.ndarray


class Estimator:
    """
    Fits images to an engine's input and maps its points back.

    Not thread-safe: buffers are reused from image to image.

    :param predict_hidden: replace keypoints that an image does not show by predictions with
        confidence 0 (:mod:`keypoint_perception.pose_prior`), if the model has learned poses; can
        be changed at any time
    """

    def __init__(self, engine: Engine, *, predict_hidden: bool = False) -> None:
        self.engine = engine
        self.predict_hidden = predict_hidden
        self.input_hw = engine.input_hw
        self.keypoint_names = engine.keypoint_names
        self.landmark_names = engine.landmark_names
        self.skeleton = engine.skeleton
        self.grey_range = engine.grey_range
        input_hw = engine.input_hw
        self._fit = lru_cache(MAX_SIZES)(lambda image_hw: Fit(image_hw, input_hw))
        self._buffers = Buffers()

    def estimate(self, image: Image) -> np.ndarray:
        """
        Return the keypoints of one image.

        :param image: RGB, (H, W, 3) uint8, or as received, which saves a copy
        :return: u, v in px of the image, confidence in [0, 1]; (K, 3) float32
        :raises EncodingError: if the image has no pixels
        :raises EngineError: if the engine fails, or returns anything but finite numbers
        """
        return self.estimate_batch([image])[0]

    def estimate_batch(self, images: Sequence[Image]) -> list[np.ndarray]:
        """Return the keypoints of several images, whose sizes may differ."""
        if not images:
            return []
        fits, batch = self._stack(images)
        keypoints = self._check(self.engine.run(batch), self.keypoint_names, fits)
        self._replace_hidden(keypoints)
        return _to_images(keypoints, fits)

    def estimate_with_landmarks(self, images: Sequence[Image]) -> list[Estimate]:
        """Return the keypoints and landmarks of several images; see :meth:`estimate`."""
        if not images:
            return []
        fits, batch = self._stack(images)
        answers = self.engine.run_with_landmarks(batch)
        keypoints = self._check(answers[0], self.keypoint_names, fits)
        landmarks = self._check(answers[1], self.landmark_names, fits)
        changed, weighted_sums = self._replace_hidden(keypoints), self.engine.landmark_map
        if changed and weighted_sums is not None:
            landmarks[changed] = weighted_sums.apply(keypoints[changed])
        both = _to_images(keypoints, fits), _to_images(landmarks, fits)
        return [Estimate(*points) for points in zip(*both, strict=True)]

    def _check(self, answers: np.ndarray, names: Sequence[str], fits: list[Fit]) -> np.ndarray:
        """Return a copy of the engine's points (N, P, 3), which must be sound."""
        check_points(answers, len(fits), names, self.engine.name)
        return answers.astype(np.float32)

    def _replace_hidden(self, keypoints: np.ndarray) -> list[int]:
        """Predict hidden keypoints (N, K, 3), in place; return the images that have any."""
        prior = self.engine.pose_prior if self.predict_hidden else None
        if prior is None:
            return []
        return [number for number, own in enumerate(keypoints) if prior.replace_hidden(own)]

    def _stack(self, images: Sequence[Image]) -> tuple[list[Fit], np.ndarray]:
        """Return the fit of each image, and the batch, (N, h, w, 3), in a reused buffer."""
        sizes = [i.image_hw if isinstance(i, EncodedImage) else i.shape[:2] for i in images]
        fits = [self._fit((height, width)) for height, width in sizes]
        batch = self._buffers.take('batch', (len(images), *self.input_hw, 3))
        for image, fit, place in zip(images, fits, batch, strict=True):
            fit_image(image, fit, place, self._buffers)
        return fits, batch


def _to_images(points: np.ndarray, fits: list[Fit]) -> list[np.ndarray]:
    """Return points of the network input (N, P, 3) in px of the images, changed in place."""
    for own, fit in zip(points, fits, strict=True):
        own[:, :2] = fit.to_image(own[:, :2])
    return list(points)


def check_points(answers: np.ndarray, images: int, names: Sequence[str], engine: str) -> None:
    """
    Check the points that an engine returned for a batch of images, named in order.

    :raises EngineError: if they are of another shape, or not finite
    """
    expected = (images, len(names), 3)
    if answers.shape != expected:
        msg = (
            f'Engine {engine} returned shape {answers.shape}, expected {expected}; export the '
            'model again.'
        )
        raise EngineError(msg)
    finite = np.isfinite(answers).all(axis=(0, 2))
    if not finite.all():
        lost = [name for name, good in zip(names, finite, strict=True) if not good]
        msg = (
            f'Engine {engine} returned NaN or infinity for {", ".join(lost)}; the network is '
            'broken, train or export it again.'
        )
        raise EngineError(msg)
