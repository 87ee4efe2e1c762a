"""
The background of a view without the things that rest in some of its clips.

A cube lies elsewhere in the next clip, and a robot pauses: the medians of such clips show them.
The background at a pixel is what most medians of the view show there. Where another value is
almost as frequent, the one that continues the surroundings is the background: a thing has an
outline, and the place where it was has none. A thing that rests at one place in all clips stays
background.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Medians agree where they differ by no more, 6 grey levels, or four times what they usually do.
LEAST_TOLERANCE, TOLERANCE = 6 / 127.5, 4.0
# Frequencies that differ by less are equal.
TIE = 0.1
# Another value is a candidate for the background if it is so frequent, relative to the first; the
# more frequent it is, the less its outline must be below that of the first.
CANDIDATE = 0.25
SHORTER, EQUAL = 0.4, 0.95
# A region shows one of several medians where that is almost as frequent as the most frequent one.
TORN = 0.75
# Regions that are decided on at most, the largest ones, and the smallest one, px.
MOST_REGIONS, LEAST_REGION = 32, 6


def common_background(medians: Tensor) -> Tensor:
    """
    Return what most medians of a view show, (3, H, W).

    :param medians: in the same light, (n, 3, H, W)
    """
    near = _agreement(medians)
    # neighbours are decided on together, and alike where two medians are equally frequent
    support = functional.avg_pool2d(near.sum(dim=1), 5, stride=1, padding=2)
    support = support * torch.linspace(1 + TIE, 1, len(medians))[:, None, None]
    most, first = support.max(dim=0)
    weight = torch.gather(near, 0, first.expand(1, *near.shape[1:]))[0]  # (n, H, W)
    background = _mean(medians, weight)
    # the most frequent of those that do not show the first
    most_of_others, other = (support * (weight == 0)).max(dim=0)
    frequency = most_of_others / most
    for region in _regions(frequency >= CANDIDATE):
        one, another = (int(index[region].mode().values) for index in (first, other))
        torn = region & (support[one] > TORN * most)
        background = torch.where(torn, _mean(medians, near[one]), background)
        changed = _with_region(background, _mean(medians, near[another]), region)
        limit = SHORTER + (EQUAL - SHORTER) * min(1.0, float(frequency[region].mean()))
        if _outline(changed, region) < limit * _outline(background, region):
            background = changed
    return background


def _agreement(medians: Tensor) -> Tensor:
    """Return how well medians (n, 3, H, W) agree with each other, (n, n, H, W) in [0, 1]."""
    blurred = functional.avg_pool2d(medians, 3, stride=1, padding=1, count_include_pad=False)
    usual = (blurred - blurred.median(dim=0).values).abs().mean(dim=1).median()
    tolerance = max(LEAST_TOLERANCE, TOLERANCE * float(usual))
    differences = [(blurred - one).abs().mean(dim=1) for one in blurred]
    return (1 - (torch.stack(differences) / tolerance).square()).clamp(min=0)


def _mean(medians: Tensor, weight: Tensor) -> Tensor:
    return torch.einsum('nhw,nchw->chw', weight, medians) / weight.sum(dim=0).clamp(min=1e-6)


def _regions(mask: Tensor) -> list[Tensor]:
    """Return the connected regions of a mask, each (H, W) bool, the largest ones first."""
    smooth = cv2.medianBlur(mask.numpy().astype(np.uint8), 3)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(smooth)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = np.argsort(-areas, kind='stable')[:MOST_REGIONS]
    return [torch.from_numpy(labels == n + 1) for n in largest if areas[n] >= LEAST_REGION]


def _with_region(background: Tensor, other: Tensor, region: Tensor) -> Tensor:
    """Return the background with a region of another image, (3, H, W)."""
    inside = cv2.dilate(region.numpy().astype(np.uint8), np.ones((3, 3), np.uint8))
    return torch.where(torch.from_numpy(inside > 0), other, background)


def _outline(image: Tensor, region: Tensor) -> float:
    """Return how much the colours of an image (3, H, W) change along the outline of a region."""
    mask = region.numpy().astype(np.uint8)
    outer = cv2.dilate(mask, np.ones((5, 5), np.uint8))
    inner = cv2.erode(mask, np.ones((3, 3), np.uint8), borderValue=1)
    along_y, along_x = torch.gradient(image, dim=(1, 2))
    steep = (along_y.square() + along_x.square()).sum(dim=0).sqrt()
    return float(steep[torch.from_numpy(outer > inner)].mean())
