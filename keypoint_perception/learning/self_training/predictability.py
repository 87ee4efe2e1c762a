"""
The detector ``unpredictable``: where an image cannot be predicted from its surroundings.

Gopalakrishnan, van Steenkiste, Schmidhuber: Unsupervised object keypoint learning using local
spatial predictability (PermaKey), 2020, https://arxiv.org/abs/2011.12930. A small net predicts
each patch from its eight neighbours; an object is where that fails. With z the patch, n its
neighbours and W the output layer, which is fitted to patches of the recording::

    error    = |z - W relu(R [n, 1])|^2 / mean variance of a patch
    response = error / (error + 1)

Departures, with their reasons:

- The paper predicts the features of a variational autoencoder. Patches of the image itself need
  no network to be trained first.
- The hidden layer R is random, so that the predictor is one least-squares fit, the same in every
  run, in place of a training of its own.
- The public code divides the error by the mean activation of the patch, so that plain dark areas
  light up, where that is nearly zero. Here the measure is the variance of the recording's patches.
- It upsamples the error by nearest neighbours, so that points lie on a grid of 2 px. Here patches
  overlap, the error is known at every pixel and its maxima between pixels.
"""

from __future__ import annotations

import cv2
from keypoint_perception.learning.self_training.detectors import Detector
from keypoint_perception.sampling import evenly_spaced
import numpy as np

# Side of a patch, px; hidden units; frames and patches that the predictor is fitted to.
PATCH, HIDDEN = 4, 256
FRAMES, PATCHES = 64, 20_000
# Ridge of the fit, as a share of the mean square of a hidden unit.
RIDGE = 1e-3
# Pixels between two patches whose error is computed.
STRIDE = 2


def fit_predictor(images: np.ndarray) -> Detector:
    """Return the detector, with a predictor that is fitted to frames (N, H, W, 3) uint8."""
    rng = np.random.default_rng(0)
    frames = [np.asarray(images[i]) for i in evenly_spaced(np.arange(len(images)), FRAMES)]
    each = max(1, PATCHES // len(frames))
    samples = []
    for frame in frames:
        around = _neighbourhoods(frame).reshape(-1, 9, 3 * PATCH**2)
        samples.append(around[rng.integers(0, len(around), each)])
    patch, neighbours = _split(np.concatenate(samples))
    scale = np.sqrt(neighbours.var() + 1e-6)
    inputs = neighbours.shape[1]
    random = rng.standard_normal((inputs + 1, HIDDEN)).astype(np.float32) / np.sqrt(inputs)
    hidden = _hidden(neighbours / scale, random)
    ridge = RIDGE * np.square(hidden).mean() * len(hidden)
    gram = hidden.T @ hidden + ridge * np.eye(hidden.shape[1], dtype=np.float32)
    output = np.linalg.solve(gram, hidden.T @ patch)
    variance = float(patch.var()) + 1e-6

    def detect(image: np.ndarray) -> np.ndarray:
        patch, neighbours = _split(_neighbourhoods(image)[::STRIDE, ::STRIDE])
        missed = patch - _hidden(neighbours / scale, random) @ output
        error = np.square(missed).mean(axis=-1) / variance
        return _to_pixels(error / (error + 1), image.shape[:2])

    return detect


def _neighbourhoods(image: np.ndarray) -> np.ndarray:
    """Return the 3 x 3 patches around every pixel that has them, (h, w, 9, 3 P^2), in [0, 1]."""
    levels = image.astype(np.float32) / 255
    side = 3 * PATCH
    windows = np.lib.stride_tricks.sliding_window_view(levels, (side, side), axis=(0, 1))
    h, w = windows.shape[:2]
    parts = windows.reshape(h, w, 3, 3, PATCH, 3, PATCH).transpose(0, 1, 3, 5, 2, 4, 6)
    return parts.reshape(h, w, 9, 3 * PATCH**2)


def _split(around: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the patch and its neighbours, both without the mean of the neighbours."""
    neighbours = np.delete(around, 4, axis=-2)
    mean = neighbours.mean(axis=(-2, -1), keepdims=True)
    patch = around[..., 4, :] - mean[..., 0]
    return patch, (neighbours - mean).reshape(*neighbours.shape[:-2], -1)


def _hidden(neighbours: np.ndarray, random: np.ndarray) -> np.ndarray:
    """Return what the output layer sees: the neighbours themselves and the random hidden units."""
    hidden = np.maximum(neighbours @ random[:-1] + random[-1], 0)
    return np.concatenate([hidden, neighbours, np.ones_like(hidden[..., :1])], axis=-1)


def _to_pixels(error: np.ndarray, hw: tuple[int, int]) -> np.ndarray:
    """Return the errors of patches at the pixels of the image, zero where a patch has no sides."""
    # pixel x is the middle of the window that begins at x - (3 P - 1) / 2
    first = (3 * PATCH - 1) / 2
    height, width = hw
    x = (np.arange(width, dtype=np.float32) - first) / STRIDE
    y = (np.arange(height, dtype=np.float32) - first) / STRIDE
    columns, rows = np.meshgrid(x, y)
    border = cv2.BORDER_CONSTANT
    return cv2.remap(error.astype(np.float32), columns, rows, cv2.INTER_CUBIC, borderMode=border)
