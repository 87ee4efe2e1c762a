"""
The network rewritten for engines: the same function with fewer and cheaper operators.

An engine takes well under a millisecond per image, a third of it in trivial operators. The network
is therefore rewritten before its export, without retraining and with identical results up to
rounding:

- The normalisation of pixels is folded into the first convolution of the default network:
  W (x / 127.5 - 1) = (W / 127.5) x - W 1.
- Group norms are written for maps of fixed size, with scale and bias as a depthwise convolution,
  which a CPU fuses with the following ReLU.
- The read-out uses precomputed tables of the cells in each window and of their positions.
"""

from __future__ import annotations

import copy

from keypoint_perception.keypoints import cells_to_network
from keypoint_perception.model.heatmaps import separable_expectation
from keypoint_perception.model.layers import ConvBlock, map_size, normalise
from keypoint_perception.model.network import Keypointer, MASS_EPSILON, UNet
import torch
from torch import nn, Tensor
from torch.nn import functional

# fp16: weights and convolutions in half precision; int8: prepared for int8 convolutions, which
# take the pixels as they are
KINDS = ('fp32', 'fp16', 'int8')


class InferenceForm(nn.Module):
    """
    A network rewritten for engines.

    :param kind: one of :data:`KINDS`; norms and read-out are always in single precision
    """

    def __init__(self, network: Keypointer, kind: str = 'fp32') -> None:
        super().__init__()
        self.config, self.kind = network.config, kind
        self.body = copy.deepcopy(network.body).eval()
        self.takes_bytes = isinstance(self.body, UNet) and kind != 'fp16'
        if isinstance(self.body, UNet) and kind != 'fp16':
            block = self.body.stem[0]
            assert isinstance(block, ConvBlock)
            first = block[0]
            assert isinstance(first, nn.Conv2d)
            pixels = PixelBlocks if kind == 'fp32' else PixelColumns
            block[0] = pixels(first, network.stride)
            self.body.fold = nn.Identity()
        if kind == 'fp16':
            self.body.half()
        _rewrite_norms(self.body, kind)
        self.read_out = ReadOut(network)

    def forward(self, image: Tensor) -> Tensor:
        """Return the keypoints; see :meth:`Keypointer.forward`."""
        pixels = image.to(torch.float32) if self.takes_bytes else normalise(image)
        logits = self.body(pixels.half() if self.kind == 'fp16' else pixels)
        keypoints: Tensor = self.read_out(logits.float())
        return keypoints


class PixelBlocks(nn.Module):
    """
    The first convolution, applied to the image in its memory layout.

    The image is viewed as one channel, three times as wide, and convolved in blocks of n x 3n, so
    that no pixel has to be moved.

    :param convolution: 1 x 1, without bias, on the channels of :class:`SpaceToDepth`
    :param block: n, px
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Conv2d, block: int) -> None:
        super().__init__()
        self.block = (block, 3 * block)
        weight = convolution.weight.detach()
        self.register_buffer('weight', (weight / 127.5).reshape(-1, 1, *self.block))
        self.register_buffer('bias', -weight.flatten(1).sum(dim=1))

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps, (B, H, W, 3) in [0, 255] -> (B, out, H / n, W / n)."""
        height, width = map_size(image[..., 0])
        rows = image.reshape(-1, 1, height, 3 * width)
        return functional.conv2d(rows, self.weight, self.bias, stride=self.block)


class PixelColumns(PixelBlocks):
    """
    The same with 3n channels: the colours of the n columns of a block.

    int8 convolutions take channels-last inputs, and are slow with few channels.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps, (B, H, W, 3) in [0, 255] -> (B, out, H / n, W / n)."""
        (height, width), (n, row) = map_size(image[..., 0]), self.block
        columns = image.reshape(-1, height, width // n, row).permute(0, 3, 1, 2)
        weight = self.weight[:, 0].transpose(1, 2)[..., None]  # (out, 3n, n, 1)
        return functional.conv2d(columns, weight, self.bias, stride=(n, 1))


class StaticGroupNorm(nn.Module):
    """
    Group norm of maps with a static size.

    :param as_convolution: apply scale and bias as a depthwise convolution, else as a product and a
        sum, which are cheaper between quantised convolutions
    """

    ones: Tensor
    zeros: Tensor
    slope: Tensor
    offset: Tensor
    none: Tensor
    one: Tensor

    def __init__(self, norm: nn.GroupNorm, *, as_convolution: bool) -> None:
        super().__init__()
        self.groups, self.eps, self.as_convolution = norm.num_groups, norm.eps, as_convolution
        self.register_buffer('ones', torch.ones(norm.num_groups))
        self.register_buffer('zeros', torch.zeros(norm.num_groups))
        self.register_buffer('slope', norm.weight.detach().float().reshape(-1, 1, 1, 1))
        self.register_buffer('offset', norm.bias.detach().float())
        self.register_buffer('none', torch.zeros(norm.num_channels))
        self.register_buffer('one', torch.ones(norm.num_channels))

    def forward(self, maps: Tensor) -> Tensor:
        """Return the normalised maps, (B, C, h, w) -> the same, in the same precision."""
        (height, width), channels = map_size(maps), len(self.offset)
        groups = maps.float().reshape(-1, self.groups, channels // self.groups * height * width)
        even = functional.instance_norm(
            groups, None, None, self.ones, self.zeros, use_input_stats=True, eps=self.eps
        ).reshape(-1, channels, height, width)
        if self.as_convolution:
            scaled = functional.conv2d(even, self.slope, self.offset, groups=channels)
        else:
            scaled = functional.batch_norm(
                even, self.none, self.one, self.slope.flatten(), self.offset, eps=0.0
            )
        return scaled.to(maps.dtype)


class ReadOut(nn.Module):
    """
    The read-out of :func:`windowed_expectation` with precomputed tables.

    Only the cells of the window are read, and the centre of mass is relative to the largest cell.
    """

    near: Tensor
    inside: Tensor
    places: Tensor
    moments: Tensor

    def __init__(self, network: Keypointer) -> None:
        super().__init__()
        self.config, self.stride = network.config, network.stride
        self.slope, self.offset = (float(n) for n in network.calibration)
        height, width = (side // network.stride for side in network.config.input_hw)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing='ij')
        cells = torch.stack([x.flatten(), y.flatten()], dim=1)  # (cells, 2)
        reach = torch.arange(2 * network.config.window + 1) - network.config.window
        rows, columns = torch.meshgrid(reach, reach, indexing='ij')
        steps = torch.stack([columns.flatten(), rows.flatten()], dim=1)  # (window, 2)
        near = cells[:, None] + steps
        inside = ((near >= 0) & (near < torch.tensor([width, height]))).all(dim=-1)
        index = torch.where(inside, near[..., 1] * width + near[..., 0], 0)
        self.register_buffer('near', index)  # (cells, window)
        self.register_buffer('inside', inside.float())  # (cells, window)
        self.register_buffer('places', cells_to_network(cells.float(), network.stride))
        # the product with a window gives its first moments and its mass
        moments = torch.cat([steps * network.stride, torch.ones(len(steps), 1)], dim=1)
        self.register_buffer('moments', moments)  # (window, 3)

    def forward(self, logits: Tensor) -> Tensor:
        """Return u, v in network px and confidence, (B, K, h, w) -> (B, K, 3)."""
        maps = logits.reshape(-1, self.config.keypoints, len(self.near)).softmax(dim=-1)
        largest = maps.argmax(dim=-1)  # (B, K)
        window = maps.gather(2, self.near[largest]) * self.inside[largest]
        sums = window @ self.moments
        mass = sums[..., 2:]
        uv = self.places[largest] + sums[..., :2] / mass
        if self.config.network == 'paper':
            uv = cells_to_network(separable_expectation(logits), self.stride)
        return torch.cat([uv, self._confidence(mass)], dim=-1)

    def _confidence(self, mass: Tensor) -> Tensor:
        mass = mass.clamp(MASS_EPSILON, 1 - MASS_EPSILON)
        if (self.slope, self.offset) == (1.0, 0.0):
            return mass
        return torch.sigmoid(self.slope * (mass / (1 - mass)).log() + self.offset)


def _rewrite_norms(module: nn.Module, kind: str) -> None:
    """Replace group norms by static ones."""
    for name, child in module.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, StaticGroupNorm(child, as_convolution=kind == 'fp32'))
        else:
            _rewrite_norms(child, kind)
