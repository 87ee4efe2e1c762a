"""The decoder of objectives that reconstruct images from maps, for training only."""

from __future__ import annotations

from keypoint_perception.model.layers import ConvBlock, depth_to_space, upsample
import torch
from torch import nn, Tensor


class MapDecoder(nn.Module):
    """
    A small U-Net from maps to an image, (B, in, h, w) -> (B, out, stride h, stride w).

    ::

        in -- w ---------------- + -- w -- out * stride^2, rearranged into pixels
              '-- 2w ------ + ---'
                   '-- 2w --'

    each level at half the resolution of the one above.

    Its receptive field is larger than that of transport's refinement nets, because the content
    between keypoints depends on all of them.

    :param stride: side of a cell of the maps, px of the image
    :param width: channels at the maps' resolution
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, width: int, norm: str
    ) -> None:
        super().__init__()
        self.first = ConvBlock(in_channels, width, norm=norm)
        self.down = nn.ModuleList(
            nn.Sequential(nn.MaxPool2d(2, ceil_mode=True), ConvBlock(c, 2 * width, norm=norm))
            for c in (width, 2 * width)
        )
        self.up = nn.ModuleList(ConvBlock(2 * width + c, c, norm=norm) for c in (2 * width, width))
        self.stride = stride
        self.last = nn.Conv2d(width, out_channels * stride**2, 3, padding=1)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the reconstructed image, float32."""
        levels = [self.first(maps)]
        for down in self.down:
            levels.append(down(levels[-1]))
        level = levels.pop()
        for up in self.up:
            skip = levels.pop()
            level = up(torch.cat([upsample(level, skip), skip], dim=1))
        return depth_to_space(self.last(level), self.stride).float()
