"""
Fit a background to a frame: the light of the frame, and the camera's shake within a pixel.

With b the background, x a frame, and one gain and offset a colour channel::

    x(p) = row(y) (gain b(p - shift) + offset) + foreground + noise

``row`` is the gain of a row against black: lamps that flicker while a rolling shutter reads a
frame make bands of it brighter. It is fitted on request only, since a thing that fills a row looks
alike.

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
from torch.nn import functional

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
# Frames are fitted only if that changes more than this, a grey level.
LEAST_CHANGE = 1 / 127.5
# Gains and offsets beyond these are no change of the light.
GAINS, MOST_OFFSET = (0.5, 2.0), 0.5
# A row has the gain of so many around it; darker pixels than this tell no gain, 16 grey levels.
ROWS, DARK = 5, 16 / 127.5


class BackgroundFit(NamedTuple):
    """
    How the background appears in each frame.

    :param gain: of each colour, (B, 3), like the offset
    :param shift: along x and y, (B, 2) px
    :param row: gain of each row against black, (B, H); 1 where it is not fitted
    """

    gain: Tensor
    offset: Tensor
    shift: Tensor
    row: Tensor


def fit_background(images: Tensor, background: Tensor, *, bands: bool = False) -> BackgroundFit:
    """
    Return how the background appears in each frame.

    :param bands: whether rows differ in brightness
    """
    fit = _fit(images, background)
    far = (fit.shift.norm(dim=-1) > CURVED).nonzero()[:, 0]
    if len(far):
        moved = _shift(background[far], fit.shift[far])
        again = _fit(images[far], moved)
        fit.gain[far], fit.offset[far] = again.gain, again.offset
        fit.shift[far] += again.shift
    return fit._replace(row=_fit_rows(images, apply_fit(background, fit))) if bands else fit


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
    row = images.new_ones(images.shape[0], images.shape[2])
    return BackgroundFit(*_fit_light(x, colours, weight[:, None]), shift, row)


def _fit_rows(images: Tensor, background: Tensor) -> Tensor:
    """Return the gain of each row, what most of its pixels and its neighbours show, (B, H)."""
    x, b = (functional.avg_pool2d(i.mean(dim=1) + 1, 3, 1, 1) for i in (images, background))
    ratio = (x / b.clamp(min=DARK)).median(dim=2).values
    around = functional.pad(ratio[:, None], (ROWS // 2, ROWS // 2), mode='replicate')
    return around[:, 0].unfold(1, ROWS, 1).median(dim=2).values.clamp(*GAINS)


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
    lit = fit.gain[..., None, None] * background + fit.offset[..., None, None]
    return lit if (fit.row == 1).all() else fit.row[:, None, :, None] * (lit + 1) - 1


def undo_fit(images: Tensor, fit: BackgroundFit) -> Tensor:
    """Return the frames in the light and at the position of the background, (B, 3, H, W)."""
    if (fit.row != 1).any():
        images = (images + 1) / fit.row[:, None, :, None] - 1
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
