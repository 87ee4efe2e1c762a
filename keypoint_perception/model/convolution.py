"""
Convolutions that learn faster where the library's own kernels are slow.

On CPUs with AVX2 and nothing wider, oneDNN computes the gradient of a float32 convolution's
weights at about half the rate of its forward pass when images lie channels-last and are large
(38 to 48 of 80 GFLOP/s on one core, by shape). The same sums as matrix products reach 46 to 62.
Small images, other CPUs and other kinds of numbers are left to the library. With many channels
Winograd's algorithm does the same with fewer multiplications; the library has it for none of these
CPUs. A network that does not learn is computed by the library alone, as its engines do.
"""

from __future__ import annotations

from functools import cache

from keypoint_perception.model import winograd
import torch
from torch import nn, Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

# Fewer input channels leave the rows of the matrices too short.
LEAST_CHANNELS = 16
# Numbers in a row of the image (channels times width) from which on the library is the slower.
LEAST_ROW = 2048
# Channels on both sides from which on Winograd's algorithm is faster.
WINOGRAD_CHANNELS = 128
# Windows of one product; more images are laid below one another until there are so many.
WINDOWS = 2048


class Conv2d(nn.Conv2d):
    """``nn.Conv2d`` with the same weights and results."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the convolved maps."""
        if not (self.training and self._suits(image)):
            return super().forward(image)
        if self._has_tiles(image):
            return _Winograd.apply(image, self.weight)
        stride, padding = self.stride[0], self.padding[0]
        return _Convolution.apply(image, self.weight, self.bias, stride, padding)

    def _has_tiles(self, image: Tensor) -> bool:
        """Say whether Winograd's tiles fill the image, and the channels are worth them."""
        return (
            self.kernel_size == (3, 3)
            and self.stride == (1, 1)
            and self.bias is None
            and min(self.in_channels, self.out_channels) >= WINOGRAD_CHANNELS
            and not any(n % winograd.TILE for n in image.shape[-2:])
        )

    def _suits(self, image: Tensor) -> bool:
        height, width = self.kernel_size
        return (
            library_is_slow()
            and image.device.type == 'cpu'
            and image.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled('cpu')
            and self.in_channels >= LEAST_CHANNELS
            and self.in_channels * image.shape[-1] >= LEAST_ROW
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


class _Winograd(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image, weight):
        transformed = winograd.transform(image)
        ctx.save_for_backward(transformed, weight)
        return winograd.convolve(transformed, weight, *image.shape[2:])

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        transformed, weight = ctx.saved_tensors
        to_image = to_weight = None
        if ctx.needs_input_grad[0]:
            to_image = winograd.image_gradient(gradient, weight)
        if ctx.needs_input_grad[1]:
            to_weight = winograd.weight_gradient(transformed, gradient)
        return to_image, to_weight


def weight_gradient(image: Tensor, gradient: Tensor, kernel: int, stride: int) -> Tensor:
    """
    Return the gradient of a convolution's weights, (O, C, kernel, kernel) channels-last.

    For each row dy of the kernel it is the product of the outputs' gradient with the image's
    windows of one row: a window of ``kernel`` pixels times C channels is one run of memory where
    the channels lie last. A few images at a time are laid one below the other, so that products
    are neither many nor larger than the cache; below each the gradient has rows of zeros, on which
    the windows of two images meet.

    :param image: (B, C, H, W), channels-last, padded by half a kernel
    :param gradient: of the output, (B, O, H / stride, W / stride), channels-last
    """
    channels, height, width = image.shape[1:]
    outputs, out_height, out_width = gradient.shape[1:]
    edge, run = kernel // 2, kernel * channels
    # rows in as many groups as the stride, so that the rows of one dy follow one another
    below = (kernel - 1) // stride
    rows = out_height + below
    at_once = min(len(image), max(1, WINDOWS // (rows * out_width)))
    padded = image.new_zeros(at_once, stride * rows, stride * out_width + kernel - 1, channels)
    one, step, pixel, _ = padded.stride()
    windows = padded.as_strided(
        (stride, at_once, rows, out_width, run), (step, one, stride * step, stride * pixel, 1)
    )
    columns = torch.empty(windows.shape)
    back = gradient.new_zeros(at_once, rows, out_width, outputs)
    inside = padded[:, edge : edge + height, edge : edge + width]
    shape = inside.shape
    total = image.new_zeros(kernel, run, outputs)
    for first in range(0, len(image), at_once):
        images = image[first : first + at_once].permute(0, 2, 3, 1)
        count = len(images)
        inside[:count].copy_(images[:, : shape[1], : shape[2]])
        columns.copy_(windows)
        back[:count, :out_height].copy_(gradient[first : first + at_once].permute(0, 2, 3, 1))
        used = (count * rows - below) * out_width
        flat = back.view(-1, outputs)[:used]
        for dy in range(kernel):
            start = dy // stride * out_width
            part = columns[dy % stride].view(-1, run)[start : start + used]
            total[dy].addmm_(part.t(), flat)
    return total.view(kernel, kernel, channels, outputs).permute(3, 2, 0, 1)
