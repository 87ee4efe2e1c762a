"""What a camera and a recorder do to pictures: blur, shake, flicker, noise and JPEG."""

from __future__ import annotations

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator


class CameraEffects:
    """The effects of one simulated camera, constant over its clips except for what is random."""

    def __init__(self, rng: Rng) -> None:
        self._rng = rng
        self._blur = rng.uniform(0.3, 1.2) if rng.random() < 0.3 else 0.0
        self._shake = rng.uniform(0.05, 0.4) if rng.random() < 0.25 else 0.0
        self._flicker = rng.uniform(0.002, 0.02) if rng.random() < 0.3 else 0.0
        self._noise = rng.exponential(0.008)
        self._quality = int(rng.integers(50, 96)) if rng.random() < 0.5 else 0
        self._gain = rng.uniform(0.7, 1.2)
        self._vignette = rng.uniform(0, 0.4) if rng.random() < 0.2 else 0.0

    def __call__(self, image: Array, hw: tuple[int, int]) -> Array:
        """Return an image (h, w, 3) uint8 of a rendered one (H, W, 3) float32 in [0, 1]."""
        rng, (height, width) = self._rng, hw
        if self._shake:
            scale = image.shape[0] / height
            matrix = np.eye(2, 3)
            matrix[:, 2] = rng.normal(0, self._shake * scale, 2)
            flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
            image = cv2.warpAffine(
                image, matrix, image.shape[1::-1], flags=flags, borderMode=border
            )
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        if self._blur:
            image = cv2.GaussianBlur(image, (0, 0), self._blur)
        if self._vignette:
            rows, columns = np.indices(hw, np.float32)
            far = (rows / height * 2 - 1) ** 2 + (columns / width * 2 - 1) ** 2
            image = image * (1 - self._vignette * far / 2)[..., None]
        image = image * (self._gain + rng.normal(0, self._flicker))
        image = image + rng.normal(0, self._noise, image.shape)
        result = (255 * image).clip(0, 255).astype(np.uint8)
        if self._quality:
            parameters = [cv2.IMWRITE_JPEG_QUALITY, self._quality]
            result = cv2.imdecode(cv2.imencode('.jpg', result, parameters)[1], cv2.IMREAD_COLOR)
        return result
