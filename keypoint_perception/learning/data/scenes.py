"""
Statistics within scenes: one scene is one camera of one recording.

A run may learn from several recordings and cameras. What differs between scenes has not moved, so
motion and backgrounds are computed within each scene. ``scene`` is that of each frame, (N,) int.
"""

from __future__ import annotations

import torch
from torch import Tensor


def centred(values: Tensor, scene: Tensor) -> Tensor:
    """Return values (N, ...) minus their mean over the frames of their scene."""
    result = torch.empty_like(values)
    for mine in members(scene):
        result[mine] = values[mine] - values[mine].mean(dim=0)
    return result


def spread(uv: Tensor, scene: Tensor) -> Tensor:
    """Return the standard deviation of each keypoint within its scenes, (N, K, 2) -> (K,)."""
    return centred(uv, scene).square().sum(dim=-1).mean(dim=0).sqrt()


def medians(frames: Tensor, scene: Tensor) -> Tensor:
    """Return for each frame (N, ...) the median of its scene, which is the static background."""
    result = torch.empty_like(frames)
    for mine in members(scene):
        result[mine] = frames[mine].float().median(dim=0).values.to(frames.dtype)
    return result


def members(scene: Tensor) -> list[Tensor]:
    """Return the frames of each scene, as indices."""
    return [(scene == number).nonzero()[:, 0] for number in scene.unique()]
