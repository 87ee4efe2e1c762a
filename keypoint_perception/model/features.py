"""
The feature nets of the objectives, with small receptive fields.

A feature net that saw the whole image could encode all of it in the one cell that is transported,
so the receptive field is about the size of a keypoint's Gaussian.
"""

from __future__ import annotations

from keypoint_perception.model.layers import ConvBlock, SpaceToDepth
from torch import nn, Tensor


class LocalFeatures(nn.Module):
    """Features with a receptive field of 3 x 3 cells, (B, 3, H, W) -> (B, w, h, w)."""

    def __init__(self, width: int, norm: str, stride: int) -> None:
        """
        Create the layers.

        :param stride: side of a cell, px
        """
        super().__init__()
        self.stride = stride
        self.channels = width
        self.body = nn.Sequential(
            SpaceToDepth(stride),
            ConvBlock(3 * stride**2, width, kernel=1, norm=norm),
            ConvBlock(width, width, norm=norm),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of images in [-1, 1]."""
        features: Tensor = self.body(image)
        return features


class PaperFeatures(nn.Module):
    """
    The feature net of the public PyTorch port of Transporter, at a quarter of the resolution.

    Kernel 7, then 3: 32, 32 | 64 stride 2, 64 | 128 stride 2, 128, each with norm and ReLU. The
    authors' release has 16, 16, 32, 32 with one stride of 2; the published training settings
    (80 x 80 px, batch 64, Adam 1e-3) belong to the port.
    """

    stride = 4
    channels = 128

    def __init__(self, norm: str) -> None:
        super().__init__()
        shapes = [(3, 32, 7, 1), (32, 32, 3, 1), (32, 64, 3, 2), (64, 64, 3, 1)]
        shapes += [(64, 128, 3, 2), (128, 128, 3, 1)]
        self.body = nn.Sequential(
            *(ConvBlock(i, o, kernel=k, stride=s, norm=norm) for i, o, k, s in shapes)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of images in [-1, 1]."""
        features: Tensor = self.body(image)
        return features
