"""
The network in the form that engines run: the same function, of fewer and cheaper operators.

An image costs an engine well under a millisecond, and a third of that is operators that hardly
compute anything. So before it is exported, the network is rewritten; nothing is trained again and
every answer stays what it was but for rounding:

- Normalisation of the pixels goes into the first convolution, where that is a product over blocks
  of pixels: W (x / 127.5 - 1) = (W / 127.5) x - W 1.
- Group norms are written for maps of a fixed size, their slopes and offsets as a convolution of
  each channel with itself, which a CPU does along with the ReLU that follows.
- The read-out looks up which cells are near the largest, and where all cells are, instead of
  computing both.
"""

from __future__ import annotations

import copy

from keypoint_perception.keypoints import cells_to_network
from keypoint_perception.model.heatmaps import separable_expectation
from keypoint_perception.model.layers import map_size, normalise
from keypoint_perception.model.network import Keypointer, LEAST_DOUBT, UNet
import torch
from torch import nn, Tensor
from torch.nn import functional

# float: single precision; half: weights and convolutions in half precision; whole: laid out for
# convolutions of whole numbers, which take the pixels as they are
KINDS = ('fp32', 'fp16', 'int8')


class InferenceForm(nn.Module):
    """
    A network for engines; see this file.

    :param kind: one of :data:`KINDS`; norms and read-out are in single precision in all of them
    """

    def __init__(self, network: Keypointer, kind: str = 'fp32') -> None:
        super().__init__()
        self.config, self.kind = network.config, kind
        self.body = copy.deepcopy(network.body).eval()
        self.takes_bytes = isinstance(self.body, UNet) and kind != 'fp16'
        if self.takes_bytes:
            self.body.fold = nn.Identity()
            pixels = PixelBlocks if kind == 'fp32' else PixelColumns
            self.body.stem[0][0] = pixels(self.body.stem[0][0], network.stride)
        if kind == 'fp16':
            self.body.half()
        _rewrite_norms(self.body, kind)
        self.read_out = ReadOut(network)

    def forward(self, image: Tensor) -> Tensor:
        """Return what the robot reads; see :meth:`Keypointer.forward`."""
        pixels = image.to(torch.float32) if self.takes_bytes else normalise(image)
        logits = self.body(pixels.half() if self.kind == 'fp16' else pixels)
        return self.read_out(logits.float())


class PixelBlocks(nn.Module):
    """
    A 1 x 1 convolution of folded pixels, of the image as it lies in memory.

    The colours of a row are taken for columns of a picture three times as wide, of which blocks
    of n x 3n are convolved: nothing has to be folded, nor moved.

    :param convolution: of channels in the order of :class:`SpaceToDepth`, without bias
    :param block: n, px
    """

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
    The same, with the colours of the n columns of a block for channels: images lie channels-last.

    Convolutions of whole numbers take their input channels-last, and are slow where a pixel has
    few channels.
    """

    def forward(self, image: Tensor) -> Tensor:
        """Return the maps, (B, H, W, 3) in [0, 255] -> (B, out, H / n, W / n)."""
        (height, width), (n, row) = map_size(image[..., 0]), self.block
        columns = image.reshape(-1, height, width // n, row).permute(0, 3, 1, 2)
        weight = self.weight[:, 0].transpose(1, 2)[..., None]  # (out, 3n, n, 1)
        return functional.conv2d(columns, weight, self.bias, stride=(n, 1))


class StaticGroupNorm(nn.Module):
    """
    Group norm of maps whose size the exported graph knows.

    :param as_convolution: slope and offset as a convolution of each channel with itself, else as
        a product and a sum, which are cheaper where the convolutions round it are quantised
    """

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
    Maps to keypoints, by tables of which cells are near which.

    :func:`windowed_expectation` says what is computed; here only the cells of the window are
    looked at, and its centre of mass is taken relative to the largest cell.
    """

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
        # so that a product of what is in the window gives its moments and its mass
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
        mass = mass.clamp(LEAST_DOUBT, 1 - LEAST_DOUBT)
        if (self.slope, self.offset) == (1.0, 0.0):
            return mass
        return torch.sigmoid(self.slope * (mass / (1 - mass)).log() + self.offset)


def _rewrite_norms(module: nn.Module, kind: str) -> None:
    """Replace group norms; others stay, in single precision."""
    for name, child in module.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, StaticGroupNorm(child, as_convolution=kind == 'fp32'))
        else:
            _rewrite_norms(child, kind)
