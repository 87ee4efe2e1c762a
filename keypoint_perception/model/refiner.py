"""Refinement nets from transported features to images (the paper's RefineNet), for training."""

from __future__ import annotations

from keypoint_perception.model.layers import ConvBlock
from torch import nn, Tensor
from torch.nn import functional


class Refiner(nn.Module):
    """From features to RGB at full resolution, (B, c, h, w) -> (B, 3, H, W)."""

    def __init__(self, channels: int, norm: str, stride: int) -> None:
        """
        Create the layers.

        :param stride: side of a cell of the features, px
        """
        super().__init__()
        self.stride = stride
        self.coarse = ConvBlock(channels, channels, norm=norm)
        self.fine = nn.Conv2d(channels, 3 * stride**2, 1)

    @property
    def last(self) -> nn.Module:
        """The output layer."""
        return self.fine

    def forward(self, features: Tensor) -> Tensor:
        """Return the image, in about [-1, 1]."""
        return functional.pixel_shuffle(self.fine(self.coarse(features)), self.stride)


class PaperRefiner(nn.Module):
    """
    The port's refinement net: at each scale two convolutions, then bilinear upsampling by two.

    (B, 128, h, w) -> (B, 3, 4h, 4w). The port applies norm and ReLU to the RGB output, which
    excludes negative colours; here the last convolution is linear, as in the authors' release.
    """

    def __init__(self, norm: str) -> None:
        super().__init__()
        self.coarse = nn.Sequential(ConvBlock(128, 128, norm=norm), ConvBlock(128, 64, norm=norm))
        self.middle = nn.Sequential(ConvBlock(64, 64, norm=norm), ConvBlock(64, 32, norm=norm))
        self.fine = nn.Sequential(ConvBlock(32, 32, norm=norm), nn.Conv2d(32, 3, 7, padding=3))

    @property
    def last(self) -> nn.Module:
        """The output layer."""
        return self.fine[-1]

    def forward(self, features: Tensor) -> Tensor:
        """Return the image."""
        for layers in (self.coarse, self.middle):
            features = functional.interpolate(
                layers(features), scale_factor=2, mode='bilinear', align_corners=False
            )
        image: Tensor = self.fine(features)
        return image
