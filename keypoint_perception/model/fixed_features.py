"""
Fixed nets whose features are compared by perceptual losses; they are neither trained nor exported.

- :class:`RandomPyramid` has fixed random filters.
- :class:`Vgg16Features` has the layers of VGG-16 (Simonyan, Zisserman 2015,
  https://arxiv.org/abs/1409.1556), with weights from a safetensors file of the user.

Checkpoints do not include their weights, which follow from a seed or from the user's file.
"""

from __future__ import annotations

import json
from pathlib import Path
from shlex import quote

from keypoint_perception.errors import ConfigError
from safetensors import SafetensorError
from safetensors.torch import load_file
import torch
from torch import nn, Tensor
from torch.nn import functional

# Colour statistics of ImageNet in [0, 1], which torchvision's networks expect.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Indices and channels of the convolutions in torchvision's `features`, up to conv5_2.
VGG16_CONVOLUTIONS = (
    ((0, 3, 64), (2, 64, 64)),
    ((5, 64, 128), (7, 128, 128)),
    ((10, 128, 256), (12, 256, 256), (14, 256, 256)),
    ((17, 256, 512), (19, 512, 512), (21, 512, 512)),
    ((24, 512, 512), (26, 512, 512)),
)
# Conditional generation compares the second convolution of each block.
COMPARED = 1
PICKLES = ('.pth', '.pt', '.pkl', '.pickle', '.bin', '.ckpt')


class RandomPyramid(nn.Module):
    """
    Layers of random orthonormal filters, each at half the resolution of the previous one.

    Random filters approximately preserve distances between images and compare neighbourhoods
    instead of single pixels. A generator with a fixed seed makes resumed runs identical.
    """

    def __init__(self, channels: tuple[int, ...] = (16, 32, 64)) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        before = 3
        self.count = len(channels)
        for level, after in enumerate(channels):
            weight = torch.empty(after, before, 3, 3)
            nn.init.orthogonal_(weight, gain=2**0.5, generator=generator)
            self.register_buffer(f'weight{level}', weight, persistent=False)
            before = after

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the layers of images in [-1, 1], each (B, c, H / 2^i, W / 2^i)."""
        layers, seen = [], image
        for level in range(self.count):
            if level:
                seen = functional.avg_pool2d(seen, 2)
            weight = getattr(self, f'weight{level}')
            seen = functional.conv2d(seen, weight, padding=1).relu()
            layers.append(seen)
        return layers


class Vgg16Features(nn.Module):
    """
    The layers conv1_2, conv2_2, conv3_2, conv4_2 and conv5_2 of VGG-16, after their ReLU.

    :param tensors: weight and bias of each convolution, as ``0.weight`` and ``0.bias``
    """

    mean: Tensor
    std: Tensor

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name.replace('.', '_'), tensor.float(), persistent=False)
        for name, values in (('mean', IMAGENET_MEAN), ('std', IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the layers of images in [-1, 1], each (B, c, H / 2^i, W / 2^i)."""
        seen = ((image + 1) / 2 - self.mean) / self.std
        layers = []
        for number, block in enumerate(VGG16_CONVOLUTIONS):
            if number:
                seen = functional.max_pool2d(seen, 2)
            for place, (index, _, _) in enumerate(block):
                weight, bias = getattr(self, f'{index}_weight'), getattr(self, f'{index}_bias')
                seen = functional.conv2d(seen, weight, bias, padding=1).relu()
                if place == COMPARED:
                    layers.append(seen)
        return layers


def load_vgg16(path: Path | str) -> Vgg16Features:
    """
    Return VGG-16 with the weights of a file.

    The names are torchvision's (``features.0.weight`` and so on), with or without ``features.``;
    other tensors, such as the classifier's, are ignored.

    :param path: a safetensors file
    :raises ConfigError: if it is a pickle, not a safetensors file, or of another network
    """
    path = Path(path)
    if path.suffix.lower() in PICKLES:
        names = [
            json.dumps(str(p), ensure_ascii=False)
            for p in (path, path.with_suffix('.safetensors'))
        ]
        program = (
            'import torch; from safetensors.torch import save_file; '
            f'save_file(torch.load({names[0]}, weights_only=True), {names[1]})'
        )
        msg = (
            f'{str(path)!r} is a pickle, which may execute code when loaded; if you trust it, '
            f'convert it to safetensors: python -c {quote(program)}.'
        )
        raise ConfigError(msg)
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        msg = (
            f'{str(path)!r} cannot be read ({error}); expected the weights of VGG-16 as a '
            'safetensors file with the names of torchvision, features.0.weight and so on.'
        )
        raise ConfigError(msg) from error
    found = {name.removeprefix('features.'): tensor for name, tensor in found.items()}
    shapes: dict[str, tuple[int, ...]] = {}
    for index, before, after in (c for block in VGG16_CONVOLUTIONS for c in block):
        shapes |= {f'{index}.weight': (after, before, 3, 3), f'{index}.bias': (after,)}
    for name, shape in shapes.items():
        if name not in found or tuple(found[name].shape) != shape:
            fault = f'has shape {tuple(found[name].shape)}' if name in found else 'is missing'
            msg = (
                f'{str(path)!r} does not hold VGG-16: features.{name} {fault}, expected {shape}; '
                "give torchvision's vgg16 (not vgg16_bn) as safetensors."
            )
            raise ConfigError(msg)
    return Vgg16Features({name: found[name] for name in shapes})
