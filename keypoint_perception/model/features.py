"""
The feature nets of the objectives: local on purpose.

A feature net that saw the whole image could put everything there is to know into the one cell
that is transported; the view is kept to about the size of a keypoint's bump instead.
"""

from __future__ import annotations

from keypoint_perception.model.layers import ConvBlock, SpaceToDepth
from torch import nn, Tensor


class LocalFeatures(nn.Module):
    """Features that see 3 x 3 cells of the network's maps, (B, 3, H, W) -> (B, w, h, w)."""

    def __init__(self, width: int, norm: str, stride: int) -> None:
        """
        Make the layers.

        :param stride: pixels along a side of a cell
        """
        super().__init__()
        self.stride = stride
        self.channels = width
        self.body = nn.Sequential(
            SpaceToDepth(self.stride),
            ConvBlock(3 * self.stride**2, width, kernel=1, norm=norm),
            ConvBlock(width, width, norm=norm),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of images in [-1, 1]."""
        return self.body(image)


class PaperFeatures(nn.Module):
    """
    The feature net of the public PyTorch port of Transporter, at a quarter of the resolution.

    Kernel 7 then 3: 32, 32 | 64 stride 2, 64 | 128 stride 2, 128, each with norm and ReLU. The
    authors' release has 16, 16, 32, 32 with one halving; the port's is the form that published
    training settings (80 x 80 px, batch 64, Adam 1e-3) go with.
    """

    stride = 4
    channels = 128

    def __init__(self, norm: str) -> None:
        super().__init__()
        shape = ((3, 32, 7, 1), (32, 32, 3, 1), (32, 64, 3, 2), (64, 64, 3, 1))
        shape += ((64, 128, 3, 2), (128, 128, 3, 1))
        self.body = nn.Sequential(
            *(ConvBlock(i, o, kernel=k, stride=s, norm=norm) for i, o, k, s in shape)
        )

    def forward(self, image: Tensor) -> Tensor:
        """Return the features of images in [-1, 1]."""
        return self.body(image)
