"""
The stacked hourglass: down to the whole scene and up again, several times over.

Newell, Yang, Deng: Stacked hourglass networks for human pose estimation, 2016,
https://arxiv.org/abs/1603.06937. One hourglass pools four times and comes back by nearest
neighbours, adding what the way down saw at each resolution; its maps are fed back into the
features of the next one, which can put right what the whole scene speaks against. Each has its
maps, so that each can be held against the labels (intermediate supervision).

Departures, each with its reason:

- Group norm instead of batch norm by default: a robot's batch is one image.
- ``width`` channels instead of 256: two cores instead of a GPU.
- The first convolution is 6 x 6 and not 7 x 7. At stride 2 an even kernel keeps the centre of a
  cell on the centre of its block of pixels, as ``keypoints.cells_to_network`` has it; an odd one
  is off by half a pixel.
- A map of one or two cells a side is not pooled further: a norm over one cell leaves nothing.
"""

from __future__ import annotations

from keypoint_perception.model.layers import make_norm, upsample
from torch import nn, Tensor
from torch.nn import functional

POOLINGS = 4
LEAST_CELLS = 2


class Bottleneck(nn.Module):
    """
    Residual unit 1 x 1, 3 x 3, 1 x 1, norm and ReLU before each: (B, in, h, w) -> (B, out, h, w).

    The 3 x 3 has half the channels, which is what makes the depth affordable.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        half = max(1, out_channels // 2)
        self.body = nn.Sequential(
            make_norm(norm, in_channels),
            nn.ReLU(),
            nn.Conv2d(in_channels, half, 1, bias=False),
            make_norm(norm, half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1, bias=False),
            make_norm(norm, half),
            nn.ReLU(inplace=True),
            nn.Conv2d(half, out_channels, 1),
        )
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the features with what the unit adds."""
        return self.skip(features) + self.body(features)


class Hourglass(nn.Module):
    """One way down and up, (B, c, h, w) -> (B, c, h, w)."""

    def __init__(self, channels: int, norm: str, poolings: int = POOLINGS) -> None:
        super().__init__()
        self.side = Bottleneck(channels, channels, norm)
        self.down = Bottleneck(channels, channels, norm)
        deeper = poolings > 1
        self.inner = (
            Hourglass(channels, norm, poolings - 1)
            if deeper
            else Bottleneck(channels, channels, norm)
        )
        self.up = Bottleneck(channels, channels, norm)

    def forward(self, features: Tensor) -> Tensor:
        """Return features that know of the whole scene."""
        below = features
        if min(features.shape[-2:]) > LEAST_CELLS:
            below = functional.max_pool2d(features, 2, ceil_mode=True)
        below = self.up(self.inner(self.down(below)))
        return self.side(features) + upsample(below, features)


class StackedHourglass(nn.Module):
    """
    Keypoint net of several hourglasses, maps at a quarter of the resolution.

    ::

        stem -- + -- hourglass -- unit, 1 x 1 -- + -- K maps, of this stack
                |                                |
                '------------------------------- + -- 1 x 1 of both -- next hourglass
    """

    stride = 4

    def __init__(
        self, keypoints: int, width: int, norm: str, stacks: int, poolings: int = POOLINGS
    ) -> None:
        super().__init__()
        half = max(8, width // 2)
        self.stem = nn.Sequential(
            nn.Conv2d(3, half, 6, stride=2, padding=2, bias=False),
            make_norm(norm, half),
            nn.ReLU(inplace=True),
            Bottleneck(half, width, norm),
            nn.MaxPool2d(2),
            Bottleneck(width, width, norm),
        )
        self.hourglasses = nn.ModuleList(Hourglass(width, norm, poolings) for _ in range(stacks))
        self.out = nn.ModuleList(
            nn.Sequential(
                Bottleneck(width, width, norm),
                nn.Conv2d(width, width, 1, bias=False),
                make_norm(norm, width),
                nn.ReLU(inplace=True),
            )
            for _ in range(stacks)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, keypoints, 1) for _ in range(stacks))
        self.from_features = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))
        self.from_maps = nn.ModuleList(nn.Conv2d(keypoints, width, 1) for _ in range(stacks - 1))

    def stacks(self, image: Tensor) -> list[Tensor]:
        """Return the maps of each hourglass, the last one last, each (B, K, H / 4, W / 4)."""
        features = self.stem(image)
        maps = []
        for number, (hourglass, out, head) in enumerate(
            zip(self.hourglasses, self.out, self.heads, strict=True)
        ):
            seen = out(hourglass(features))
            maps.append(head(seen))
            if number < len(self.from_maps):
                back = self.from_maps[number](maps[-1])
                features = features + self.from_features[number](seen) + back
        return maps

    def forward(self, image: Tensor) -> Tensor:
        """Return the last maps, (B, 3, H, W) -> (B, K, H / 4, W / 4)."""
        return self.stacks(image)[-1]
