"""
The refinement nets: transported features -> image (claim 1's refinement; the paper's RefineNet).

They belong to the objective and are never exported.
"""

from __future__ import annotations

from keypoint_perception.model.layers import ConvBlock
from torch import nn, Tensor
from torch.nn import functional


class Refiner(nn.Module):
    """Features at the maps' resolution -> RGB at full, (B, c, h, w) -> (B, 3, H, W)."""

    def __init__(self, channels: int, norm: str, stride: int) -> None:
        """
        Make the layers.

        :param stride: pixels along a side of a cell of the features
        """
        super().__init__()
        self.stride = stride
        self.coarse = ConvBlock(channels, channels, norm=norm)
        self.fine = nn.Conv2d(channels, 3 * stride**2, 1)

    @property
    def last(self) -> nn.Module:
        """The layer that answers."""
        return self.fine

    def forward(self, features: Tensor) -> Tensor:
        """Return the image that the features describe, in about [-1, 1]."""
        return functional.pixel_shuffle(self.fine(self.coarse(features)), self.stride)


class PaperRefiner(nn.Module):
    """
    The port's refinement net: two convolutions a scale, bilinear doubling, half the channels.

    (B, 128, h, w) -> (B, 3, 4h, 4w). The port ends in norm and ReLU on the RGB output, which
    cannot give negative colours; here the last convolution is linear, as in the paper's release.
    """

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.coarse = nn.Sequential(ConvBlock(128, 128, norm=norm), ConvBlock(128, 64, norm=norm))
        self.middle = nn.Sequential(ConvBlock(64, 64, norm=norm), ConvBlock(64, 32, norm=norm))
        self.fine = nn.Sequential(ConvBlock(32, 32, norm=norm), nn.Conv2d(32, 3, 7, padding=3))

    @property
    def last(self) -> nn.Module:
        """The layer that answers."""
        return self.fine[-1]

    def forward(self, features: Tensor) -> Tensor:
        """Return the image that the features describe."""
        features = _double(self.coarse(features))
        return self.fine(_double(self.middle(features)))


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode='bilinear', align_corners=False)
