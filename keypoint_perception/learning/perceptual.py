"""
How alike two pictures are in the layers of a fixed net.

Johnson, Alahi, Fei-Fei: Perceptual losses for real-time style transfer and super-resolution, 2016,
https://arxiv.org/abs/1603.08155. With the layers f_l of the net, the rebuilt frame y, the frame x
it should be and the other frame x' of the pair::

    perceptual = mean_l  w |f_l(y) - f_l(x)|^2 / running mean of |f_l(x') - f_l(x)|^2

Layers differ by orders of magnitude, so each is divided by what it changes between the frames of a
pair, as a running mean over the steps so far: 1 means no better than answering with the other
frame, in every layer. Jakab et al. 2018 divide by the running mean of the error itself, which
makes the loss one half way through as at the beginning; public codes after them divide by fixed
numbers, which suit one network and one kind of picture.
"""

from __future__ import annotations

from keypoint_perception.learning.reconstruction import swap
import torch
from torch import nn, Tensor
from torch.nn import functional

DECAY = 0.99


class PerceptualError(nn.Module):
    """The error in the layers of a fixed net; its running means stand in the checkpoint."""

    def __init__(self, net: nn.Module) -> None:
        """
        Take the net.

        :param net: images in [-1, 1] -> list of layers, each (B, c, h, w)
        """
        super().__init__()
        self.net = net
        with torch.no_grad():
            count = len(net(torch.zeros(1, 3, 32, 32)))
        self.register_buffer('total', torch.zeros(count))
        self.register_buffer('steps', torch.zeros(()))

    def forward(self, rebuilt: Tensor, images: Tensor, weight: Tensor) -> Tensor:
        """
        Return the error of each rebuilt frame, (N,) float32.

        :param rebuilt: the second frames, or the second and then the first, (N, 3, H, W)
        :param images: the first frames and then the second, (2B, 3, H, W) in [-1, 1]
        :param weight: of each pixel, (N, 1, H, W)
        """
        with torch.no_grad():
            known = [swap(layer.float()) for layer in self.net(images)]
            change = self._running([(layer - swap(layer)).square().mean() for layer in known])
        errors = []
        for layer, wanted, unit in zip(self.net(rebuilt), known, change, strict=True):
            error = (layer.float() - wanted[: len(layer)]).square().mean(dim=1, keepdim=True)
            counts = functional.adaptive_avg_pool2d(weight, error.shape[-2:])
            errors.append((counts * error).mean(dim=(1, 2, 3)) / unit)
        return torch.stack(errors).mean(dim=0)

    def _running(self, changes: list[Tensor]) -> Tensor:
        """Take a step's changes into the running means and return those, (L,)."""
        if self.training:
            self.total.mul_(DECAY).add_(torch.stack(changes), alpha=1 - DECAY)
            self.steps.add_(1)
        # the mean of what was seen so far, and not of the zeros before
        return (self.total / (1 - DECAY**self.steps)).clamp(min=1e-8)
