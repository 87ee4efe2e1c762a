"""
Feature nets of the objectives, and refinement nets from transported features to images.

A feature net that saw the whole image could encode all of it in the one cell that is transported,
so the receptive field is about the size of a keypoint's Gaussian.
"""

from __future__ import annotations

from keypoint_perception.model.layers import ConvBlock, depth_to_space, SpaceToDepth
from torch import nn, Tensor
from torch.nn import functional


class LocalFeatures(nn.Module):
    """
    Features with a receptive field of 3 x 3 cells, (B, 3, H, W) -> (B, w, h, w).

    :param stride: side of a cell, px
    """

    def __init__(self, width: int, norm: str, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.channels = width
        self.body = nn.Sequential(
            SpaceToDepth(stride),
            ConvBlock(3 * stride**2, width, kernel=1, norm=norm),
            ConvBlock(width, width, norm=norm),
        )

    def forward(self, image: Tensor) -> Tensor:
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
        features: Tensor = self.body(image)
        return features


class Refiner(nn.Module):
    """
    From features to RGB in about [-1, 1] at full resolution, (B, c, h, w) -> (B, 3, H, W).

    :ivar last: the output layer
    """

    def __init__(self, channels: int, norm: str, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.coarse = ConvBlock(channels, channels, norm=norm)
        self.fine = nn.Conv2d(channels, 3 * stride**2, 1)

    @property
    def last(self) -> nn.Module:
        return self.fine

    def forward(self, features: Tensor) -> Tensor:
        return depth_to_space(self.fine(self.coarse(features)), self.stride)


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
        return self.fine[-1]

    def forward(self, features: Tensor) -> Tensor:
        for layers in (self.coarse, self.middle):
            features = functional.interpolate(
                layers(features), scale_factor=2, mode='bilinear', align_corners=False
            )
        image: Tensor = self.fine(features)
        return image
