"""
Random colours, as of another light or camera.

Brightness, contrast, saturation and hue are linear in RGB if the hue is rotated about the grey
axis, so each image needs one 3 x 3 matrix and one offset, and a whole batch is one product.
Kornia's jitter (0.9.0) goes through HSV and takes 60 ms for 32 images of 128 x 128 on one core, a
third of a training step; this takes 3 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from keypoint_perception.settings import setting, Settings
import torch
from torch import Tensor

# Rec. 601, as OpenCV and most cameras have it.
LUMA = (0.299, 0.587, 0.114)
# Largest hue rotation at strength one.
MAX_HUE_RAD = math.pi / 2


@dataclass(frozen=True)
class ColourConfig(Settings):
    """Settings of objectives that change the colours of images."""

    colour: float = setting(0.2, low=0, high=1, help='Strength of the colour jitter; 0: none.')


def jitter_colours(
    images: Tensor, strength: float, *, generator: torch.Generator | None = None
) -> Tensor:
    """
    Return images (B, 3, H, W) in [-1, 1] with random colours, drawn for each image.

    :param strength: 0 changes nothing; brightness is shifted by up to this share of half the
        range, contrast and saturation are scaled by up to 1 + this or its inverse, the hue is
        rotated by up to this share of 90 degrees; all uniformly
    :param generator: torch's default generator if None
    """
    if strength == 0:
        return images
    drawn = 2 * torch.rand(len(images), 4, generator=generator) - 1
    factors = torch.exp(math.log1p(strength) * drawn[:, 1:3])
    matrix = colour_matrix(factors[:, 0], factors[:, 1], MAX_HUE_RAD * strength * drawn[:, 3])
    return apply_colours(images, matrix, strength * drawn[:, 0])


def colour_matrix(contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """
    Return the matrices that RGB is multiplied by, around mid-grey, (B, 3, 3).

    :param contrast: factor around mid-grey, (B,)
    :param saturation: factor around the grey of the same luma, (B,)
    :param hue: rotation about the grey axis, red towards green, (B,) rad
    """
    identity = torch.eye(3)
    grey = torch.tensor(LUMA).expand(3, 3)
    # Rodrigues' formula about the axis (1, 1, 1)
    mean = torch.full((3, 3), 1 / 3)
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    cos, sin = hue.cos()[:, None, None], hue.sin()[:, None, None]
    rotated = mean + cos * (identity - mean) + sin * across
    saturated = grey + saturation[:, None, None] * (identity - grey)
    with torch.autocast('cpu', enabled=False):
        return contrast[:, None, None] * saturated @ rotated


def apply_colours(images: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """
    Return images (B, 3, H, W) with transformed colours, clamped to [-1, 1].

    :param matrix: (B, 3, 3)
    :param offset: (B,)
    """
    matrix, offset = matrix.to(images.device), offset.to(images.device)
    with torch.autocast(images.device.type, enabled=False):
        changed = torch.baddbmm(offset[:, None, None], matrix, images.float().flatten(2))
    return changed.clamp_(-1, 1).view(images.shape)
