"""
Similarity of two images in the layers of a fixed network.

Johnson, Alahi, Fei-Fei: Perceptual losses for real-time style transfer and super-resolution, 2016,
https://arxiv.org/abs/1603.08155. With the layers f_l of the network, the reconstructed frame y,
the original frame x and the other frame x' of the pair::

    perceptual = mean_l  w |f_l(y) - f_l(x)|^2 / running mean of |f_l(x') - f_l(x)|^2

Layers differ by orders of magnitude, so each error is divided by the layer's change between the
frames of a pair, a running mean over the steps: 1 means no better than predicting the other frame.
Jakab et al. 2018 divide by the running mean of the error itself, which keeps the loss at one
throughout training; later public code divides by constants, which suit one network and one kind of
image.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.partner_views import swap
from keypoint_perception.model.fixed_features import load_vgg16, RandomPyramid
from keypoint_perception.settings import setting, Settings
import torch
from torch import nn, Tensor
from torch.nn import functional

DECAY = 0.99


@dataclass(frozen=True)
class ComparisonConfig(Settings):
    """Settings of objectives that compare a reconstructed frame with the original."""

    compare: str = setting(
        'random',
        choices=('pixels', 'random', 'vgg16'),
        help='Where frames are compared: in pixels alone, or also in the layers of random filters '
        'or of VGG-16.',
    )
    vgg16: str = setting('', help='Safetensors file with the weights of VGG-16.')

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.compare == 'vgg16') != bool(self.vgg16):
            msg = (
                f'compare: got {self.compare!r} with vgg16: {self.vgg16!r}; compare: vgg16 '
                'requires vgg16: FILE.safetensors; for other values of compare, omit vgg16.'
            )
            raise ConfigError(msg)


class PerceptualError(nn.Module):
    """
    The error in the layers of a fixed network; the checkpoint holds its running means.

    :param net: images in [-1, 1] -> list of layers, each (B, c, h, w)
    """

    total: Tensor
    steps: Tensor

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        with torch.no_grad():
            count = len(net(torch.zeros(1, 3, 32, 32)))
        self.register_buffer('total', torch.zeros(count))
        self.register_buffer('steps', torch.zeros(()))

    def forward(self, reconstructed: Tensor, images: Tensor, weight: Tensor) -> Tensor:
        """
        Return the error of each reconstructed frame, (N,) float32.

        :param reconstructed: the second frames, or the second and then the first, (N, 3, H, W)
        :param images: the first frames and then the second, (2B, 3, H, W) in [-1, 1]
        :param weight: of each pixel, (N, 1, H, W)
        """
        with torch.no_grad():
            known = [swap(layer.float()) for layer in self.net(images)]
            change = self._running([(layer - swap(layer)).square().mean() for layer in known])
        errors = []
        for layer, wanted, unit in zip(self.net(reconstructed), known, change, strict=True):
            error = (layer.float() - wanted[: len(layer)]).square().mean(dim=1, keepdim=True)
            counts = functional.adaptive_avg_pool2d(weight, error.shape[-2:])
            errors.append((counts * error).mean(dim=(1, 2, 3)) / unit)
        return torch.stack(errors).mean(dim=0)

    def _running(self, changes: list[Tensor]) -> Tensor:
        """Take a step's changes into the running means and return those, (L,)."""
        if self.training:
            self.total.mul_(DECAY).add_(torch.stack(changes), alpha=1 - DECAY)
            self.steps.add_(1)
        elif not self.steps:
            return torch.stack(changes).clamp(min=1e-8)  # before the first step
        # corrected for the zero that the mean starts from
        return (self.total / (1 - DECAY**self.steps)).clamp(min=1e-8)


def make_comparison(config: ComparisonConfig) -> PerceptualError | None:
    """
    Return the comparison of frames in addition to their pixels, if there is one.

    :raises ConfigError: if the weights of VGG-16 cannot be read
    """
    if config.compare == 'pixels':
        return None
    return PerceptualError(load_vgg16(config.vgg16) if config.vgg16 else RandomPyramid())
