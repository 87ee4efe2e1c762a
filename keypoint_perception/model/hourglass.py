"""
The stacked hourglass network.

Newell, Yang, Deng: Stacked hourglass networks for human pose estimation, 2016,
https://arxiv.org/abs/1603.06937. An hourglass pools four times and upsamples by nearest
neighbours, with a skip connection at each resolution. Its maps are fed back into the features of
the next hourglass, which can correct them from the context of the whole scene. Every hourglass
outputs maps, for intermediate supervision.

Differences to the paper:

- Group norm by default instead of batch norm, because a robot's batch is one image.
- ``width`` channels instead of 256, to run on two cores instead of a GPU.
- A first convolution of 6 x 6 instead of 7 x 7. At stride 2 an even kernel keeps the centre of a
  cell at the centre of its block of pixels, as ``keypoints.cells_to_network`` requires; an odd one
  shifts it by half a pixel.
- Maps with a side of one or two cells are not pooled further, because a norm over a single cell
  removes all information.
"""

from __future__ import annotations

from keypoint_perception.model.layers import make_norm, upsample
from torch import nn, Tensor
from torch.nn import functional

POOLINGS = 4
MIN_CELLS = 2


class Bottleneck(nn.Module):
    """Residual unit 1 x 1, 3 x 3, 1 x 1, norm and ReLU before each, half the width inside."""

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
        """Return the features plus the residual."""
        summed: Tensor = self.skip(features) + self.body(features)
        return summed


class Hourglass(nn.Module):
    """One hourglass, (B, c, h, w) -> (B, c, h, w)."""

    def __init__(self, channels: int, norm: str, poolings: int = POOLINGS) -> None:
        super().__init__()
        self.side = Bottleneck(channels, channels, norm)
        self.down = Bottleneck(channels, channels, norm)
        self.inner: nn.Module
        if poolings > 1:
            self.inner = Hourglass(channels, norm, poolings - 1)
        else:
            self.inner = Bottleneck(channels, channels, norm)
        self.up = Bottleneck(channels, channels, norm)

    def forward(self, features: Tensor) -> Tensor:
        """Return features with a global receptive field."""
        below = features
        if min(features.shape[-2:]) > MIN_CELLS:
            below = functional.max_pool2d(features, 2, ceil_mode=True)
        below = self.up(self.inner(self.down(below)))
        summed: Tensor = self.side(features) + upsample(below, features)
        return summed


class StackedHourglass(nn.Module):
    """
    Keypoint net of several hourglasses, with maps at a quarter of the resolution.

    ::

        stem -- + -- hourglass -- unit, 1 x 1 -- + -- K maps of this stack
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
        """Return the maps of each hourglass in order, each (B, K, H / 4, W / 4)."""
        return self.decode(image)[0]

    def decode(self, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the maps of each hourglass, and the features that the last ones are from."""
        features = self.stem(image)
        maps = []
        layers = zip(self.hourglasses, self.out, self.heads, strict=True)
        for number, (hourglass, out, head) in enumerate(layers):
            decoded = out(hourglass(features))
            maps.append(head(decoded))
            if number < len(self.from_maps):
                feedback = self.from_maps[number](maps[-1])
                features = features + self.from_features[number](decoded) + feedback
        return maps, decoded

    def select(self, kept: list[int]) -> dict[str, Tensor]:
        """
        Return the parameters that change when only the given maps are kept, by name.

        What the next hourglass receives from the other maps is a linear function of the features
        that they are computed from, so it is added to ``from_features``.
        """
        state = self.state_dict()
        changed: dict[str, Tensor] = {}
        for number in range(len(self.heads)):
            weight, bias = state[f'heads.{number}.weight'], state[f'heads.{number}.bias']
            changed |= {f'heads.{number}.weight': weight[kept], f'heads.{number}.bias': bias[kept]}
            if number < len(self.from_maps):
                feedback = state[f'from_maps.{number}.weight']
                others = feedback.flatten(1).clone()
                others[:, kept] = 0
                folded = {'weight': (others @ weight.flatten(1))[..., None, None]}
                folded['bias'] = others @ bias
                changed[f'from_maps.{number}.weight'] = feedback[:, kept]
                for name, value in folded.items():
                    name = f'from_features.{number}.{name}'
                    changed[name] = state[name] + value
        return changed

    def forward(self, image: Tensor) -> Tensor:
        """Return the last maps, (B, 3, H, W) -> (B, K, H / 4, W / 4)."""
        return self.stacks(image)[-1]
