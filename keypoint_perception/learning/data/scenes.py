"""
Statistics within scenes: one scene is one camera of one recording.

A run may learn from several recordings and cameras. What differs between scenes has not moved, so
motion and backgrounds are computed within each scene. ``scene`` is that of each frame, (N,) int.
What is at rest before a camera that moves, moves in its image: positions are compared in the view
of one frame (:class:`CameraMotion`), and each episode is a scene.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.learning.data.foreground import foreground_map
from keypoint_perception.model.layers import normalise
import torch
from torch import Tensor


class CameraMotion(NamedTuple):
    """
    What is known of frames if the camera moves.

    :param to_reference: from pixels of each frame to those of one frame of its scene, (N, 3, 3)
    :param background: what each frame would show without foreground, (N, 3, H, W) in [-1, 1]
    :param noise: difference from it that noise explains, (N, 1, H, W)
    """

    to_reference: Tensor
    background: Tensor
    noise: Tensor


def at_reference(uv: Tensor, motion: CameraMotion | None) -> Tensor:
    """Return keypoints (N, K, 2) px in the view that frames of a scene have in common."""
    if motion is None:
        return uv
    homogeneous = torch.cat([uv, torch.ones_like(uv[..., :1])], dim=-1)
    moved = torch.einsum('nij,nkj->nki', motion.to_reference.to(uv), homogeneous)
    return moved[..., :2] / moved[..., 2:].clamp(min=1e-6)


def on_foreground(uv: Tensor, frames: Tensor, motion: CameraMotion, stride: int = 4) -> Tensor:
    """
    Return how certainly keypoints (N, K, 2) px lie on the foreground, (N, K) in [0, 1].

    :param frames: (N, H, W, 3) uint8
    :param stride: pixels of a cell in which foreground is measured
    """
    height, width = (side // stride for side in frames.shape[1:3])
    found = []
    for some, background, noise in zip(
        *(part.split(64) for part in (frames, motion.background, motion.noise)), strict=True
    ):
        found.append(foreground_map(normalise(some), background, noise, (height, width)))
    foreground = torch.cat(found)
    column, row = ((uv + 0.5) / stride - 0.5).round().long().unbind(dim=-1)
    frame = torch.arange(len(uv))[:, None]
    return foreground[frame, row.clamp(0, height - 1), column.clamp(0, width - 1)]


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
