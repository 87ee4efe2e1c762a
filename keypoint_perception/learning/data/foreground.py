"""
The foreground of frames.

A frame is foreground where it differs from its background by more than noise explains; both are
from :mod:`.backgrounds`. With d the difference, averaged over 3 x 3 pixels and then without its
sign over the colours::

    d = mean over colours |blur(x - b)|        e = max(0, d - noise)
    map of a cell = soft(root mean square of e over its pixels)
    mask = soft(blur(e)), dilated

The blur takes most of the noise of single pixels. The root mean square counts an object that is
much smaller than a cell for more than the mean does. Images are in [-1, 1], (B, 3, H, W), and so
is noise, (B, 1, H, W).
"""

from __future__ import annotations

from keypoint_perception.learning.pixel_means import as_rows, box_blur, colour_mean
from keypoint_perception.model.layers import map_size
from torch import Tensor
from torch.nn import functional

# Beyond noise, foreground begins at about 1.5 grey levels and is certain from 25.
SOFTNESS = 0.05
LOW, HIGH = 0.2, 0.8
# The mask includes pixels this close to the foreground, as a share of the longer image side:
# outlines, and mounts of parts.
MARGIN = 0.04


def foreground_map(
    images: Tensor, background: Tensor, noise: Tensor, hw: tuple[int, int]
) -> Tensor:
    """Return how certainly each of h x w cells shows foreground, (B, h, w) in [0, 1]."""
    square = _excess(images, background, noise).square()
    return _soft_threshold(functional.adaptive_avg_pool2d(square, hw).sqrt())[:, 0]


def foreground_mask(images: Tensor, background: Tensor, noise: Tensor) -> Tensor:
    """Return a mask of the foreground and a margin around it, (B, 1, H, W) in [0, 1]."""
    # at half the resolution, which the margin blurs anyway, in a fifth of the time
    excess = _excess(images, background, noise)
    mask = functional.avg_pool2d(excess, 3, stride=2, padding=1, count_include_pad=False)
    mask = _soft_threshold(mask)
    margin = max(1, round(MARGIN * max(map_size(mask))))
    # rows, then columns: two thirds of the time of a square
    mask = functional.max_pool2d(mask, (2 * margin + 1, 1), 1, (margin, 0))
    mask = functional.max_pool2d(mask, (1, 2 * margin + 1), 1, (0, margin))
    return functional.interpolate(mask, size=map_size(images))


def difference(images: Tensor, background: Tensor) -> Tensor:
    """Return how much images differ from a background around each pixel, (B, 1, H, W)."""
    return colour_mean(box_blur(images - background, 3, inside=True).abs_())


def _excess(images: Tensor, background: Tensor, noise: Tensor) -> Tensor:
    return (difference(images, background) - as_rows(noise)).clamp_(min=0)


def _soft_threshold(excess: Tensor) -> Tensor:
    return ((excess / (excess + SOFTNESS) - LOW) / (HIGH - LOW)).clamp(0, 1)
