"""
Views: what a camera sees that stands at one place.

The medians of the clips of one view agree, up to the light, except where things have moved in
between. Whether a camera stands where it stood is found out from them.
"""

from __future__ import annotations

import cv2
from keypoint_perception.learning.data.background_fit import apply_fit, fit_background
from keypoint_perception.learning.data.foreground import difference
from keypoint_perception.learning.data.noise import slope
from keypoint_perception.model.layers import map_size
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Medians agree where they differ by no more, 6 grey levels.
TOLERANCE = 6 / 127.5
# Medians are of one view if so many cells agree, and so many of those with contours, and if no
# shift by up to REACH times two px makes them agree better; beyond CLIPPED, things differ.
CELL, SAME, SAME_CONTOURS, CONTOUR = 8, 0.65, 0.33, 10 / 127.5
REACH, CLIPPED, LEAST_GAIN, LEAST_CELLS = 3, 16 / 127.5, 0.5 / 127.5, 0.01
# Side of the surroundings whose median difference is the local light, a share of the image.
LIGHT = 0.45


def same_view(one: Tensor, other: Tensor) -> bool:
    """Return whether two medians (3, H, W) of the same light are of the same view."""
    found = functional.avg_pool2d(difference(one[None], other[None]), CELL)
    steep = torch.maximum(slope(one[None]), slope(other[None]))
    contours = functional.max_pool2d(steep, CELL) > CONTOUR
    # the contours of a cell that is displaced differ by about their contrast
    contrast = functional.avg_pool2d(steep, CELL)
    agree = found < (contrast / 3).clamp(min=TOLERANCE)
    same_contours = float(agree[contours].float().mean()) if contours.any() else 1.0
    alike = float(agree.float().mean()) >= SAME and same_contours >= SAME_CONTOURS
    return alike and not _displaced(one, other)


def _displaced(one: Tensor, other: Tensor) -> bool:
    """Return whether two medians (3, H, W) agree better if one is shifted."""
    a, b = functional.avg_pool2d(torch.stack([one, other]).mean(dim=1), 2)
    height, width = (side - 2 * REACH for side in map_size(a))
    if min(height, width) < CELL // 2:
        return False
    inner = a[REACH : REACH + height, REACH : REACH + width]
    moved = b.unfold(0, height, 1).unfold(1, width, 1)  # (y, x, height, width)
    cost = (moved - inner).abs().clamp(max=CLIPPED)
    best = int(cost.mean(dim=(2, 3)).argmin())
    cells = functional.avg_pool2d(cost.flatten(0, 1), CELL // 2)  # (shifts, h, w)
    gain = cells[len(cells) // 2] - cells[best]
    # of the contours of a thing that has moved, few prefer the same shift
    better, worse = int((gain > LEAST_GAIN).sum()), int((gain < -LEAST_GAIN).sum())
    return better > max(2 * worse, LEAST_CELLS * gain.numel())


def relight(background: Tensor, image: Tensor) -> Tensor:
    """Return a background in the light of an image of the same view, both (3, H, W)."""
    relit = apply_fit(background[None], fit_background(image[None], background[None]))[0]
    return (relit + _local_light(image - relit)).clamp(-1, 1)


def _local_light(change: Tensor) -> Tensor:
    """Return what large surroundings of each pixel have in common, (3, H, W)."""
    height, width = change.shape[1:]
    small = functional.avg_pool2d(change, 4).permute(1, 2, 0).numpy()
    levels = (small * 127.5 + 128).round().clip(0, 255).astype(np.uint8)
    side = 2 * round(LIGHT * min(levels.shape[:2]) / 2) + 1
    middle = cv2.medianBlur(np.ascontiguousarray(levels), side)
    light = cv2.GaussianBlur((middle.astype(np.float32) - 128) / 127.5, (0, 0), side / 4)
    return torch.from_numpy(cv2.resize(light, (width, height))).permute(2, 0, 1)
