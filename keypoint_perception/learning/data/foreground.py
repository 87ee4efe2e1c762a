"""
What is in front of the still background, and how keypoints lie on it.

The background is the median of a clip (:mod:`.background_error`). A frame is foreground where it
differs from that: more than noise does, fully from some 25 grey levels on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# A cell is foreground from a mean difference of about 1.5 grey levels on, and fully from 25 on.
NOISE = 0.05
FROM, TO = 0.2, 0.8
# What lies this near to the foreground is cut out with it, as a share of the longer image side:
# outlines, and what a part is mounted on.
MARGIN = 0.04


def find_foreground(images: Tensor, background: Tensor, hw: tuple[int, int]) -> Tensor:
    """
    Return how surely each cell shows something in front of the background, (B, h, w) in [0, 1].

    :param images: in [-1, 1], (B, 3, H, W)
    :param background: in [-1, 1], (B, 3, H, W)
    :param hw: height and width of the maps, cells
    """
    return _surely(functional.adaptive_avg_pool2d(_difference(images, background), hw))[:, 0]


def cut_out(images: Tensor, background: Tensor) -> Tensor:
    """
    Return a mask of the pixels in front of the background and near them, (B, 1, H, W) in [0, 1].

    :param images: in [-1, 1], (B, 3, H, W)
    :param background: in [-1, 1], (B, 3, H, W)
    """
    # single pixels are noise, of JPEG above all
    difference = functional.avg_pool2d(_difference(images, background), 3, stride=1, padding=1)
    margin = max(1, round(MARGIN * max(images.shape[-2:])))
    # rows, then columns: a sixth of the time of a square
    mask = functional.max_pool2d(_surely(difference), (2 * margin + 1, 1), 1, (margin, 0))
    return functional.max_pool2d(mask, (1, 2 * margin + 1), 1, (0, margin))


def share_on(maps: Tensor, foreground: Tensor) -> Tensor:
    """
    Return the share of each map that lies on the foreground, (B, K) in [0, 1].

    :param maps: each summing to one, (B, K, h, w)
    :param foreground: (B, h, w)
    """
    return torch.einsum('bkhw,bhw->bk', maps, foreground)


def off_foreground(on: Tensor, foreground: Tensor) -> Tensor:
    """
    Return the mean share of the maps that lies on the background, (B,) in [0, 1].

    Nothing where nothing is in front: a frame without foreground asks nothing.

    :param on: of :func:`share_on`, (B, K)
    :param foreground: (B, h, w)
    """
    amount = foreground.sum(dim=(1, 2))
    return (1 - on.mean(dim=1)) * amount / (amount + 1)


def uncovered(covered: Tensor, foreground: Tensor) -> Tensor:
    """
    Return the share of the foreground that no bump covers, (B,) in [0, 1].

    :param covered: union of the bumps, (B, 1, h, w)
    :param foreground: (B, h, w)
    """
    amount = foreground.sum(dim=(1, 2))
    return (foreground * (1 - covered[:, 0])).sum(dim=(1, 2)) / (amount + 1)


def _difference(images: Tensor, background: Tensor) -> Tensor:
    return (images - background).abs().mean(dim=1, keepdim=True)


def _surely(difference: Tensor) -> Tensor:
    return ((difference / (difference + NOISE) - FROM) / (TO - FROM)).clamp(0, 1)
