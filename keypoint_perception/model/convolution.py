"""
Convolutions that learn faster where the library's own kernels are slow.

On CPUs with AVX2 and nothing wider, oneDNN computes the gradient of a float32 convolution's
weights at about half the rate of its forward pass when images lie channels-last (33 to 53 of 80
GFLOP/s on one core, by shape). The same sums as matrix products reach 45 to 60. Elsewhere, and for
every other kind of number, the library does all of it.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import nn, Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Fewer input channels leave the rows of the matrices too short.
LEAST_CHANNELS = 16


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with the same weights and results."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the convolved maps."""
        if torch.is_grad_enabled() and self.weight.requires_grad and self._suits(image):
            stride, padding = self.stride[0], self.padding[0]
            return _Convolution.apply(image, self.weight, self.bias, stride, padding)
        return super().forward(image)

    def _suits(self, image: Tensor) -> bool:
        height, width = self.kernel_size
        return (
            library_is_slow()
            and image.device.type == 'cpu'
            and image.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled('cpu')
            and self.in_channels >= LEAST_CHANNELS
            and height == width > 1
            and height % 2 == 1
            and self.stride in ((1, 1), (2, 2))
            and self.padding == (height // 2, height // 2)
            and self.dilation == (1, 1)
            and self.groups == 1
            and image.is_contiguous(memory_format=torch.channels_last)
        )


@cache
def library_is_slow() -> bool:
    """Say whether matrix products are the faster way to the gradient of the weights."""
    return torch.backends.cpu.get_cpu_capability() == 'AVX2'


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, weight, bias, stride, padding):
        ctx.save_for_backward(image, weight)
        ctx.stride, ctx.padding = stride, padding
        return functional.conv2d(image, weight, bias, stride, padding)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        image, weight = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        to_image = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            to_image = torch.ops.aten.convolution_backward(
                gradient, image, weight, None, (ctx.stride,) * 2, (ctx.padding,) * 2,
                (1, 1), False, (0, 0), 1, (True, False, False),
            )[0]  # fmt: skip
        if ctx.needs_input_grad[1]:
            to_weight = weight_gradient(image, gradient, weight.shape[-1], ctx.stride)
        if ctx.needs_input_grad[2]:
            to_bias = gradient.sum(dim=(0, 2, 3))
        return to_image, to_weight, to_bias, None, None


def weight_gradient(image: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """
    Return the gradient of a convolution's weights, (O, C, kernel, kernel) channels-last.

    For each row dy of the kernel it is the product of the outputs' gradient with the image's
    windows of one row: a window of ``kernel`` pixels times C channels is one run of memory where
    the channels lie last. Images are taken one by one, so that the windows stay in the cache.

    :param image: (B, C, H, W), channels-last, padded by half a kernel
    :param gradient: of the output, (B, O, H / stride, W / stride), channels-last
    """
    channels, height, width = image.shape[1:]
    outputs, out_height, out_width = gradient.shape[1:]
    edge = kernel // 2
    # rows in as many groups as the stride, so that the rows of one dy follow one another
    rows = (kernel - 1) // stride + out_height
    padded = image.new_zeros(stride * rows, stride * out_width + kernel - 1, channels)
    step = padded.stride(0)
    run = kernel * channels
    windows = padded.as_strided(
        (stride, rows, out_width, run), (step, stride * step, stride * channels, 1)
    )
    columns = torch.empty(windows.shape)
    total = image.new_zeros(kernel, run, outputs)
    inside = padded[edge : edge + height, edge : edge + width]
    inside_rows, inside_columns = inside.shape[:2]
    for one, back in zip(image.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1), strict=True):
        inside.copy_(one[:inside_rows, :inside_columns])
        columns.copy_(windows)
        flat = back.reshape(out_height * out_width, outputs)
        for dy in range(kernel):
            start = dy // stride
            part = columns[dy % stride, start : start + out_height]
            total[dy].addmm_(part.reshape(out_height * out_width, run).t(), flat)
    return total.view(kernel, kernel, channels, outputs).permute(3, 2, 0, 1)
