"""Layers that all networks share."""

from __future__ import annotations

import torch
from torch import nn, Tensor
from torch.nn import functional

NORMS = ('group', 'instance', 'batch')


def make_norm(kind: str, channels: int) -> nn.Module:
    """
    Return a normalisation layer, with groups of 8 or more channels.

    The Transporter paper used batch norm; its authors' code describes layer and instance norm as
    much more stable, and these do not depend on the batch size, which is one on a robot.

    :param kind: one of :data:`NORMS`
    """
    if kind == 'group':
        groups = next(n for n in range(max(1, channels // 8), 0, -1) if channels % n == 0)
        return nn.GroupNorm(groups, channels)
    if kind == 'instance':
        return nn.InstanceNorm2d(channels, affine=True)
    if kind == 'batch':
        return nn.BatchNorm2d(channels)
    msg = f'Norm {kind!r} is not known; known: {", ".join(NORMS)}.'
    raise ValueError(msg)


class ConvBlock(nn.Sequential):
    """Convolution without bias, norm, ReLU: (B, in, h, w) -> (B, out, h / stride, w / stride)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        norm: str = 'group',
    ) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
            make_norm(norm, out_channels),
            nn.ReLU(inplace=True),
        )


class SpaceToDepth(nn.Module):
    """
    Rearranges blocks of pixels into channels: (B, C, h, w) -> (B, C n^2, h / n, w / n).

    A cell's centre is the centre of its block, as ``keypoints.cells_to_network`` requires; a
    strided convolution with padding 1 shifts it by half a pixel per halving. Channels are in the
    order (row, column, colour) of the block, unlike in ``pixel_unshuffle``, which for
    channels-last images takes a single copy.
    """

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, image: Tensor) -> Tensor:
        """Return the rearranged map."""
        n, channels = self.block, int(image.shape[1])
        height, width = (side // n for side in map_size(image))
        rows = image.permute(0, 2, 3, 1).reshape(-1, height, n, width, n * channels)
        folded = rows.transpose(2, 3).reshape(-1, height, width, n * n * channels)
        return folded.permute(0, 3, 1, 2)


def depth_to_space(maps: Tensor, block: int) -> Tensor:
    """
    Rearrange channels into blocks of pixels, (B, C n^2, h, w) -> (B, C, h n, w n).

    The result is that of ``pixel_shuffle``, whose gradient takes five times as long for maps that
    are channels-last.
    """
    height, width = map_size(maps)
    cells = maps.permute(0, 2, 3, 1).reshape(
        -1, height, width, maps.shape[1] // block**2, block, block
    )
    return cells.permute(0, 3, 1, 4, 2, 5).reshape(
        -1, cells.shape[3], height * block, width * block
    )


def upsample(features: Tensor, like: Tensor) -> Tensor:
    """Return ``features`` upsampled to the size of ``like`` by nearest neighbours."""
    size = map_size(like)
    if all(of in (2 * n, 2 * n - 1) for n, of in zip(map_size(features), size, strict=True)):
        # the same result, with an operator that is faster in engines
        doubled = functional.interpolate(features, scale_factor=2.0, mode='nearest')
        return doubled[..., : size[0], : size[1]] if map_size(doubled) != size else doubled
    return functional.interpolate(features, size=size, mode='nearest')


def normalise(image: Tensor) -> Tensor:
    """
    Return uint8 RGB (B, H, W, 3) as float (B, 3, H, W) in [-1, 1].

    The cast comes first, because in TensorRT only a cast may have a uint8 input
    (NVIDIA/TensorRT issue 3985).
    """
    return image.to(torch.float32).permute(0, 3, 1, 2) / 127.5 - 1.0


def map_size(maps: Tensor) -> tuple[int, int]:
    """
    Return the height and width of maps (..., h, w) as plain numbers.

    When the network is traced for its export, ``maps.shape`` would become operators of the graph,
    and everything that depends on it, such as coordinates, would be computed for every image.
    """
    height, width = maps.shape[-2:]
    return int(height), int(width)
