"""
3 x 3 convolutions with a quarter of the multiplications.

Lavin and Gray: Fast algorithms for convolutional neural networks, 2016,
https://arxiv.org/abs/1509.09308, F(4 x 4, 3 x 3)::

    Y = A' [ sum_c (G g_c G') * (B' d_c B) ] A

with the tiles d of 6 x 6 pixels that overlap by two, the kernels g, and Y the 4 x 4 outputs of a
tile. The 36 products of a tile are 36 matrix products over its channels. It is the same
convolution, rounded differently: in float32 to about 1e-5 of the largest value. What is added to
go there and back pays for itself from about 128 channels on.

Everything is channels-last; height and width are multiples of 4, the padding is 1.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

TILE = 4
# The paper's matrices for the points 0, 1, -1, 2, -2.
INPUT = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
KERNEL = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)
OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))


@cache
def _both_axes(matrix: tuple) -> Tensor:
    rows = torch.tensor(matrix, dtype=torch.float32)
    return torch.kron(rows, rows)


def transform(image: Tensor) -> Tensor:
    """
    Return the transformed tiles of an image, B' d B: (36, tiles, C).

    :param image: (B, C, H, W)
    """
    count, channels, height, width = image.shape
    padded = image.new_zeros(count, height + 2, width + 2, channels)
    padded[:, 1:-1, 1:-1] = image.permute(0, 2, 3, 1)
    one, row, pixel, _ = padded.stride()
    tiles = padded.as_strided(
        (6, 6, count, height // TILE, width // TILE, channels),
        (row, pixel, one, TILE * row, TILE * pixel, 1),
    )
    return (_both_axes(INPUT) @ tiles.reshape(36, -1)).view(36, -1, channels)


def convolve(transformed: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
    """
    Return the convolved maps, (B, O, H, W).

    :param transformed: of :func:`transform`
    :param weight: (O, C, 3, 3)
    """
    outputs, channels = weight.shape[:2]
    kernels = _both_axes(KERNEL) @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    products = torch.bmm(transformed, kernels.view(36, channels, outputs))
    tiles = _both_axes(OUTPUT) @ products.view(36, -1)
    shape = (TILE, TILE, -1, height // TILE, width // TILE, outputs)
    rows = tiles.view(shape).permute(2, 3, 0, 4, 1, 5)
    return rows.reshape(-1, height, width, outputs).permute(0, 3, 1, 2)


def image_gradient(gradient: Tensor, weight: Tensor) -> Tensor:
    """
    Return the gradient of the image, (B, C, H, W): a convolution with the kernel turned round.

    :param gradient: of the output, (B, O, H, W)
    :param weight: (O, C, 3, 3)
    """
    turned = weight.flip(2, 3).transpose(0, 1)
    return convolve(transform(gradient), turned, *gradient.shape[2:])


def weight_gradient(transformed: Tensor, gradient: Tensor) -> Tensor:
    """
    Return the gradient of the weights, (O, C, 3, 3).

    :param transformed: the image's tiles, of :func:`transform`
    :param gradient: of the output, (B, O, H, W)
    """
    count, outputs, height, width = gradient.shape
    shape = (count, height // TILE, TILE, width // TILE, TILE, outputs)
    rows = gradient.permute(0, 2, 3, 1).reshape(shape)
    tiles = rows.permute(2, 4, 0, 1, 3, 5).reshape(TILE * TILE, -1)
    spread = (_both_axes(OUTPUT).t() @ tiles).view(36, -1, outputs)
    kernels = torch.bmm(transformed.transpose(1, 2), spread)  # (36, C, O)
    found = _both_axes(KERNEL).t() @ kernels.view(36, -1)
    return found.view(3, 3, -1, outputs).permute(3, 2, 0, 1)
