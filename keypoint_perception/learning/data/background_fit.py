"""
Fit a background to a frame: the light of the frame, and the camera's shake within a pixel.

With b the background, x a frame, and one gain and offset a colour channel::

    x(p) = gain b(p - shift) + offset + foreground + noise

Lamps flicker, cameras adjust their exposure and mounts vibrate. Without the fit, either would make
a frame differ from its background everywhere, or along every contour, by more than a small object
does. The fit is a robust regression: a pixel that the others do not explain is foreground and
loses its weight. While the shift is unknown, contours are given the benefit of the doubt, since
only they can show it.

Images are in [-1, 1], (B, 3, H, W).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

# Every STRIDE-th row and column is fitted.
STRIDE = 2
# Shift that each iteration gives contours the benefit of, px.
ITERATIONS = (0.7, 0.5, 0.25, 0.1, 0.1)
# Residuals from this many robust standard deviations lose their weight.
OUTLIER = 3.0
# Least standard deviation that is assumed, one grey level; contrast of the background from which
# a gain can be told from an offset, 8 grey levels.
LEAST_NOISE, LEAST_CONTRAST = 1 / 127.5, 8 / 127.5
# Standard deviation of shifts that is assumed, px, and the largest one that is believed.
USUAL_SHIFT, MOST_SHIFT = 0.5, 1.5
# A contour is not straight over a shift from this, px: such frames are fitted again from there.
CURVED = 0.3
# Gains and offsets beyond these are no change of the light.
GAINS, MOST_OFFSET = (0.5, 2.0), 0.5


class BackgroundFit(NamedTuple):
    """Gain and offset of each frame, (B, 3), and its shift along x and y, (B, 2) px."""

    gain: Tensor
    offset: Tensor
    shift: Tensor


def fit_background(images: Tensor, background: Tensor) -> BackgroundFit:
    """Return how the background appears in each frame."""
    fit = _fit(images, background)
    far = (fit.shift.norm(dim=-1) > CURVED).nonzero()[:, 0]
    if len(far):
        moved = _shift(background[far], fit.shift[far])
        again = _fit(images[far], moved)
        fit.gain[far], fit.offset[far] = again.gain, again.offset
        fit.shift[far] += again.shift
    return fit


def _fit(images: Tensor, background: Tensor) -> BackgroundFit:
    x, b = (values[..., ::STRIDE, ::STRIDE].flatten(2) for values in (images, background))
    grey_x, grey_b = x.mean(dim=1), b.mean(dim=1)  # (B, n)
    slope = torch.stack(torch.gradient(background.mean(dim=1), dim=(2, 1)), dim=1)
    slope = slope[..., ::STRIDE, ::STRIDE].flatten(2)  # (B, 2, n) along x and y
    steep = slope.square().sum(dim=1)
    shift, moved = torch.zeros_like(x[:, :2, 0]), grey_b
    residual = grey_x - grey_b
    residual = residual - residual.median(dim=1, keepdim=True).values
    for doubt in ITERATIONS:
        noise = (1.5 * residual.abs().median(dim=1).values).clamp(min=LEAST_NOISE)[:, None]
        scale = OUTLIER**2 * (noise**2 + doubt**2 * steep)
        weight = (1 + residual.square() / scale).pow(-2)
        gain, offset = _fit_light(grey_x, moved, weight)
        unmoved = grey_x - gain[:, None] * grey_b - offset[:, None]
        shift = _fit_shift(unmoved, slope, weight / noise.square())
        moved = grey_b - torch.einsum('bdn,bd->bn', slope, shift)
        residual = grey_x - gain[:, None] * moved - offset[:, None]
    colours = b + (moved - grey_b)[:, None]
    return BackgroundFit(*_fit_light(x, colours, weight[:, None]), shift)


def _fit_light(x: Tensor, b: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return gain and offset of weighted pixels (..., n), (...) each."""
    share = weight / weight.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    x_mean, b_mean = (share * x).sum(dim=-1), (share * b).sum(dim=-1)
    contrast = b - b_mean[..., None]
    change = x - x_mean[..., None] - contrast
    variance = (share * contrast.square()).sum(dim=-1) + LEAST_CONTRAST**2
    gain = (1 + (share * contrast * change).sum(dim=-1) / variance).clamp(*GAINS)
    return gain, (x_mean - gain * b_mean).clamp(-MOST_OFFSET, MOST_OFFSET)


def _fit_shift(residual: Tensor, slope: Tensor, weight: Tensor) -> Tensor:
    """Return the shift that explains a residual (B, n) best, (B, 2) px."""
    weighted = weight[:, None] * slope  # (B, 2, n)
    product = torch.einsum('bdn,ben->bde', weighted, slope)
    prior = torch.eye(2, dtype=product.dtype, device=product.device) / USUAL_SHIFT**2
    target = -torch.einsum('bdn,bn->bd', weighted, residual)
    found: Tensor = torch.linalg.solve(product + prior, target)
    return found.clamp(-MOST_SHIFT, MOST_SHIFT)


def apply_fit(background: Tensor, fit: BackgroundFit) -> Tensor:
    """Return the background as each frame shows it, (B, 3, H, W)."""
    if fit.shift.any():
        background = _shift(background, fit.shift)
    return fit.gain[..., None, None] * background + fit.offset[..., None, None]


def undo_fit(images: Tensor, fit: BackgroundFit) -> Tensor:
    """Return the frames in the light and at the position of the background, (B, 3, H, W)."""
    images = (images - fit.offset[..., None, None]) / fit.gain[..., None, None]
    return _shift(images, -fit.shift) if fit.shift.any() else images


def _shift(images: Tensor, shift: Tensor) -> Tensor:
    """Return images (B, 3, H, W) shifted by (B, 2) px."""
    height, width = images.shape[2:]
    moved = [
        cv2.warpAffine(
            np.ascontiguousarray(image.permute(1, 2, 0).numpy()),
            np.array([[1.0, 0.0, x], [0.0, 1.0, y]]),
            (width, height),
            flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for image, (x, y) in zip(images, shift.tolist(), strict=True)
    ]
    return torch.from_numpy(np.stack(moved)).permute(0, 3, 1, 2)
