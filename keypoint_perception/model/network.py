"""
The keypoint network: an image in, K points out.

Every objective trains a :class:`Keypointer`, and nothing after the checkpoint depends on the
objective. There are three architectures: ``default``, a small U-Net at an eighth of the
resolution with a large receptive field; ``paper``, the network of the Transporter paper; and
``hourglass``, several stacked hourglasses with intermediate maps.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

from keypoint_perception.errors import ConfigError
from keypoint_perception.keypoints import cells_to_network
from keypoint_perception.model.features import (
    LocalFeatures,
    PaperFeatures,
    PaperRefiner,
    Refiner,
)
from keypoint_perception.model.heatmaps import (
    expectation,
    separable_expectation,
    softmax_2d,
    windowed_expectation,
)
from keypoint_perception.model.hourglass import StackedHourglass
from keypoint_perception.model.layers import ConvBlock, normalise, NORMS, SpaceToDepth, upsample
import torch
from torch import nn, Tensor

NETWORKS = ('default', 'paper', 'hourglass')

# Largest values, which bound the memory of a network before it is made.
LARGEST = {'keypoints': 512, 'width': 256, 'window': 32, 'stacks': 8, 'input_hw': 4096}
# Masses are clamped to this distance from 0 and 1; closer, rounding would affect the confidence.
MASS_EPSILON = 1e-3


@dataclass(frozen=True)
class NetworkConfig:
    """
    The architecture of a network, stored in every checkpoint.

    :param network: ``default``, ``paper`` or ``hourglass``
    :param keypoints: K
    :param input_hw: height and width of the network input, px, multiples of 8
    :param width: channels at the heatmaps' resolution
    :param norm: ``group``, ``instance`` or ``batch``
    :param window: cells to each side of the largest one that the read-out uses
    :param stacks: number of stacked hourglasses (hourglass network)
    """

    network: str = 'default'
    keypoints: int = 20
    input_hw: tuple[int, int] = (128, 128)
    width: int = 48
    norm: str = 'group'
    window: int = 2
    stacks: int = 2

    def __post_init__(self) -> None:
        for name, known in (('network', NETWORKS), ('norm', NORMS)):
            if getattr(self, name) not in known:
                msg = f'{name}: {getattr(self, name)!r} is not known; known: {", ".join(known)}.'
                raise ConfigError(msg)
        for name, largest in LARGEST.items():
            value = getattr(self, name)
            for number in value if isinstance(value, tuple) else (value,):
                if type(number) is not int or not 1 <= number <= largest:
                    msg = f'{name}: must be an integer from 1 to {largest}, got {number!r:.40}.'
                    raise ConfigError(msg)
        if any(n < 16 or n % 8 for n in self.input_hw):
            msg = (
                f'input size: height and width must be multiples of 8 and at least 16, got '
                f'{self.input_hw[0]} x {self.input_hw[1]}; choose a larger --size.'
            )
            raise ConfigError(msg)
        height, width = (side // map_stride(self.network) for side in self.input_hw)
        if self.keypoints > height * width:
            msg = (
                f'keypoints: {self.keypoints} do not fit on maps of {width} x {height} cells (at '
                f'most one each); choose fewer --keypoints or a larger --size.'
            )
            raise ConfigError(msg)


class Keypointer(nn.Module):
    """
    The exported network: uint8 images to keypoints.

    Training calls :meth:`logits` and :meth:`points`; engines call the module itself. The buffer
    ``calibration``, slope and offset of a logistic curve, maps the mass around a peak to a
    confidence; (1, 0) leaves the mass as it is.
    """

    calibration: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.body: UNet | PaperKeypointNet | StackedHourglass
        if config.network == 'hourglass':
            layers = config.keypoints, config.width, config.norm, config.stacks
            self.body = StackedHourglass(*layers)
        else:
            self.body = (UNet if config.network == 'default' else PaperKeypointNet)(config)
        self.stride = map_stride(config.network)
        self.register_buffer('calibration', torch.tensor([1.0, 0.0]))

    def logits(self, image: Tensor) -> Tensor:
        """Return the maps before the softmax, (B, 3, H, W) in [-1, 1] -> (B, K, h, w) float32."""
        logits: Tensor = self.body(image)
        return logits.float()

    def stacks(self, image: Tensor) -> list[Tensor]:
        """Return the maps of every stack, the only one or last of which are the logits."""
        if isinstance(self.body, StackedHourglass):
            return [maps.float() for maps in self.body.stacks(image)]
        return [self.logits(image)]

    def maps_and_features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits, and the features that they are a linear function of in each cell."""
        if isinstance(self.body, StackedHourglass):
            maps, features = self.body.decode(image)
            return maps[-1].float(), features
        features = self.body.features(image)
        return self.body.head(features).float(), features

    def points(self, logits: Tensor) -> Tensor:
        """Return the differentiable points, (B, K, h, w) -> (B, K, 2) cells."""
        if self.config.network == 'paper':
            return separable_expectation(logits)
        return expectation(softmax_2d(logits))

    def select(self, kept: list[int]) -> Keypointer:
        """Return a copy of the network with the given keypoints, in their order."""
        if kept == list(range(self.config.keypoints)):
            return copy.deepcopy(self)
        chosen = Keypointer(replace(self.config, keypoints=len(kept)))
        if isinstance(self.body, StackedHourglass):
            changed = self.body.select(kept)
        else:
            changed = {f'head.{n}': t[kept] for n, t in self.body.head.state_dict().items()}
        state = self.state_dict()
        chosen.load_state_dict(state | {f'body.{name}': t for name, t in changed.items()})
        return chosen.to(state['calibration'].device).train(self.training)

    def forward(self, image: Tensor) -> Tensor:
        """
        Return the keypoints.

        :param image: RGB uint8, (B, H, W, 3)
        :return: u, v in network px and confidence in [0, 1], (B, K, 3) float32
        """
        logits = self.logits(normalise(image))
        xy, mass = windowed_expectation(softmax_2d(logits), self.config.window)
        confidence = torch.sigmoid(self.calibration[0] * log_odds(mass) + self.calibration[1])
        if self.config.network == 'paper':
            xy = separable_expectation(logits)
        uv = cells_to_network(xy, self.stride)
        return torch.cat([uv, confidence[..., None]], dim=-1)


def log_odds(mass: Tensor) -> Tensor:
    """Return log(m / (1 - m)) of the mass around a peak, clamped to be finite."""
    mass = mass.clamp(MASS_EPSILON, 1 - MASS_EPSILON)
    return mass.log() - (1 - mass).log()


class UNet(nn.Module):
    """
    Keypoint net with a global receptive field, and maps at an eighth of the resolution.

    ::

        px/8    stem --- w ------------- + -- K maps
        px/16        '-- w ------ + -----'
        px/32             '-- w --'

    The paper's network sees 15 to 27 px, which cannot distinguish a left finger from a right one.
    All pixels of an 8 x 8 block become the channels of one cell, which keeps sub-cell positions:
    the read-out weighs neighbouring cells. In the same training time this was as accurate as maps
    at a quarter of the resolution, with half the duplicates and a fifth of the operations.
    """

    stride = 8

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, norm = config.width, config.norm
        self.fold: nn.Module = SpaceToDepth(self.stride)
        self.stem = nn.Sequential(
            ConvBlock(3 * self.stride**2, width, kernel=1, norm=norm),
            ConvBlock(width, width, norm=norm),
        )
        self.down = nn.ModuleList(
            nn.Sequential(
                nn.MaxPool2d(2, ceil_mode=True),
                ConvBlock(width, width, norm=norm),
                ConvBlock(width, width, norm=norm),
            )
            for _ in range(2)
        )
        self.side = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(2))
        self.up = nn.ModuleList(ConvBlock(width, width, norm=norm) for _ in range(2))
        self.head = nn.Conv2d(width, config.keypoints, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps, (B, 3, H, W) -> (B, K, H / 8, W / 8)."""
        maps: Tensor = self.head(self.features(image))
        return maps

    def features(self, image: Tensor) -> Tensor:
        """Return what the head makes the maps from, (B, 3, H, W) -> (B, width, H / 8, W / 8)."""
        levels = [self.stem(self.fold(image))]
        for down in self.down:
            levels.append(down(levels[-1]))
        level: Tensor = levels[-1]
        for side, up, skip in zip(self.side, self.up, reversed(levels[:-1]), strict=True):
            level = up(side(skip) + upsample(level, skip))
        return level


class PaperKeypointNet(nn.Module):
    """A second paper's feature net and a 1 x 1 convolution, -> (B, K, H / 4, W / 4)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.features = PaperFeatures(config.norm)
        self.head = nn.Conv2d(PaperFeatures.channels, config.keypoints, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.head(self.features(image))
        return maps


def map_stride(network: str) -> int:
    """Return the side of a cell of the network's maps, px."""
    strides = {'paper': PaperFeatures.stride, 'hourglass': StackedHourglass.stride}
    return strides.get(network, UNet.stride)


def make_features(config: NetworkConfig) -> LocalFeatures | PaperFeatures:
    """Return a local feature net with the resolution of a keypoint net."""
    if config.network == 'paper':
        return PaperFeatures(config.norm)
    return LocalFeatures(config.width, config.norm, map_stride(config.network))


def make_refiner(config: NetworkConfig) -> Refiner | PaperRefiner:
    """Return the refinement net for :func:`make_features`."""
    if config.network == 'paper':
        return PaperRefiner(config.norm)
    return Refiner(config.width, config.norm, map_stride(config.network))
