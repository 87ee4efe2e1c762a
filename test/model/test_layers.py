"""Channels become blocks of pixels as in PyTorch, with the same gradient."""

from keypoint_perception.model.layers import depth_to_space
import torch
from torch.nn import functional


def test_depth_to_space_is_pixel_shuffle():
    maps = torch.randn(2, 12, 3, 5).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(2, 3, 6, 10)
    found, expected = depth_to_space(maps, 2), functional.pixel_shuffle(maps, 2)
    assert torch.equal(found, expected)
    slopes = [torch.autograd.grad((made * weight).sum(), maps)[0] for made in (found, expected)]
    assert torch.equal(*slopes)
