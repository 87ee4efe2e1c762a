"""
Statistics within scenes: one scene is one camera of one recording.

A run may learn from several recordings and cameras. What differs between scenes has not moved, so
motion and backgrounds are computed within each scene.
"""

from __future__ import annotations

import torch
from torch import Tensor


def scene_of(frames: Tensor, scene: Tensor | None = None) -> Tensor:
    """Return the scene of each of N frames, (N,) int: as given, or zero."""
    return torch.zeros(len(frames), dtype=torch.int64) if scene is None else scene


def centred(values: Tensor, scene: Tensor) -> Tensor:
    """
    Return values minus their mean over the frames of their scene.

    :param values: (N, ...)
    :param scene: scene of each frame, (N,) int
    """
    result = torch.empty_like(values)
    for mine in members(scene):
        result[mine] = values[mine] - values[mine].mean(dim=0)
    return result


def medians(frames: Tensor, scene: Tensor) -> Tensor:
    """
    Return for each frame the median of its scene's frames, which is the static background.

    :param frames: (N, ...)
    :param scene: scene of each frame, (N,) int
    """
    result = torch.empty_like(frames)
    for mine in members(scene):
        result[mine] = frames[mine].float().median(dim=0).values.to(frames.dtype)
    return result


def members(scene: Tensor) -> list[Tensor]:
    """Return the frames of each scene, as indices."""
    return [(scene == number).nonzero()[:, 0] for number in scene.unique()]
