"""
The foreground of frames.

A frame is foreground where it differs from its background by more than noise explains; both are
from :mod:`.backgrounds`. Images are in [-1, 1], (B, 3, H, W), and so is noise, (B, 1, H, W).
"""

from __future__ import annotations

from keypoint_perception.model.layers import map_size
from torch import Tensor
from torch.nn import functional

# A cell is foreground from a mean difference of a quarter of the noise, and fully from four times.
LOW, HIGH = 0.2, 0.8
# The mask includes pixels this close to the foreground, as a share of the longer image side:
# outlines, and mounts of parts.
MARGIN = 0.04


def foreground_map(
    images: Tensor, background: Tensor, noise: Tensor, hw: tuple[int, int]
) -> Tensor:
    """Return how certainly each of h x w cells shows foreground, (B, h, w) in [0, 1]."""
    difference = functional.adaptive_avg_pool2d(_difference(images, background), hw)
    return _soft_threshold(difference, functional.adaptive_avg_pool2d(noise, hw))[:, 0]


def foreground_mask(images: Tensor, background: Tensor, noise: Tensor) -> Tensor:
    """Return a mask of the foreground and a margin around it, (B, 1, H, W) in [0, 1]."""
    # single pixels are noise, mostly of JPEG
    difference = functional.avg_pool2d(_difference(images, background), 3, stride=1, padding=1)
    margin = max(1, round(MARGIN * max(map_size(images))))
    # rows, then columns: a sixth of the time of a square
    mask = _soft_threshold(difference, noise)
    mask = functional.max_pool2d(mask, (2 * margin + 1, 1), 1, (margin, 0))
    return functional.max_pool2d(mask, (1, 2 * margin + 1), 1, (0, margin))


def _difference(images: Tensor, background: Tensor) -> Tensor:
    return (images - background).abs().mean(dim=1, keepdim=True)


def _soft_threshold(difference: Tensor, noise: Tensor) -> Tensor:
    return ((difference / (difference + noise) - LOW) / (HIGH - LOW)).clamp(0, 1)
