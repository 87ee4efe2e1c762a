"""
Conversions between heatmaps and points.

Positions are ``(x, y)`` = (column, row) in cells, with integers at the centres of cells;
:func:`keypoint_perception.keypoints.cells_to_network` converts them to pixels. Training uses the
expectation over the whole map, so that every cell receives a gradient. Inference uses a window
around the largest cell, because distant mass would pull the mean off the peak by whole cells.
"""

from __future__ import annotations

from keypoint_perception.model.layers import map_size
import torch
from torch import Tensor
from torch.nn import functional


def softmax_2d(logits: Tensor) -> Tensor:
    """Return the softmax over the cells of each map, (B, K, h, w) -> (B, K, h, w)."""
    return logits.flatten(2).softmax(dim=-1).view_as(logits)


def _cells(like: Tensor, count: int) -> Tensor:
    """Return the positions of the cells along an axis, with the type of another tensor."""
    # int: in a trace a size is a tensor
    return torch.arange(int(count), dtype=like.dtype, device=like.device)


def _offsets(maps: Tensor, xy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the columns and rows of maps relative to points, (B, K, w) and (B, K, h)."""
    height, width = maps.shape[-2:]
    return _cells(maps, width) - xy[..., 0:1], _cells(maps, height) - xy[..., 1:2]


def expectation(maps: Tensor) -> Tensor:
    """
    Return the centre of mass of each map.

    :param maps: non-negative and summing to one, (B, K, h, w)
    :return: (B, K, 2) cells

    The centre of [[0, 0], [0.5, 0.5]] is (0.5, 1).
    """
    return _means(maps.sum(dim=-2), maps.sum(dim=-1))


def _means(along_x: Tensor, along_y: Tensor) -> Tensor:
    """Return the means of distributions along the axes, (B, K, w), (B, K, h) -> (B, K, 2)."""
    means = [(along * _cells(along, along.shape[-1])).sum(-1) for along in (along_x, along_y)]
    return torch.stack(means, dim=-1)


def variance(maps: Tensor, xy: Tensor) -> Tensor:
    """
    Return the variance of each map about a point, the sum of both axes.

    :param maps: non-negative and summing to one, (B, K, h, w)
    :param xy: (B, K, 2) cells
    :return: (B, K) cells^2
    """
    x, y = _offsets(maps, xy)
    return (maps.sum(dim=-2) * x.square()).sum(-1) + (maps.sum(dim=-1) * y.square()).sum(-1)


def peak_curvature(logits: Tensor) -> Tensor:
    """
    Return the difference of each map's largest logit to the mean of its four neighbours.

    For a Gaussian of standard deviation s cells it is 1 / (2 s^2), at any sub-cell position.

    :param logits: (B, K, h, w)
    :return: (B, K)
    """
    largest = logits.flatten(2).argmax(dim=-1, keepdim=True)
    edged = functional.pad(logits, (1, 1, 1, 1), mode='replicate')
    beside = edged[..., 1:-1, :-2] + edged[..., 1:-1, 2:]
    above = edged[..., :-2, 1:-1] + edged[..., 2:, 1:-1]
    drop = logits - (beside + above) / 4
    return drop.flatten(2).gather(-1, largest)[..., 0]


def covariance(maps: Tensor, xy: Tensor) -> Tensor:
    """
    Return the covariance of each map about a point, a measure of uncertainty by direction.

    It includes distant mass of the map; BKinD (2022) returns it with each keypoint.

    :param maps: non-negative and summing to one, (B, K, h, w)
    :param xy: (B, K, 2) cells
    :return: [[xx, xy], [xy, yy]], (B, K, 2, 2) cells^2; its trace is :func:`variance`
    """
    x, y = _offsets(maps, xy)
    xx = (maps.sum(dim=-2) * x.square()).sum(-1)
    yy = (maps.sum(dim=-1) * y.square()).sum(-1)
    cross = ((maps * x[..., None, :]).sum(-1) * y).sum(-1)
    return torch.stack([torch.stack([xx, cross], -1), torch.stack([cross, yy], -1)], dim=-2)


def separable_expectation(logits: Tensor) -> Tensor:
    """
    Return the points of the Transporter paper's read-out, (B, K, h, w) -> (B, K, 2) cells.

    Logits are averaged over one axis, followed by a softmax along the other. Localising a peak
    takes much larger logits than with :func:`softmax_2d`.
    """
    return _means(logits.mean(dim=-2).softmax(dim=-1), logits.mean(dim=-1).softmax(dim=-1))


def windowed_expectation(maps: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """
    Return the centre of mass in a window around each map's largest cell, and the mass in it.

    The mass is the confidence: near one for a single sharp peak, near the window's share of the
    cells for a flat map. Only comparisons and sums are used, which every ONNX runtime supports.

    :param maps: non-negative and summing to one, (B, K, h, w)
    :param radius: cells to each side of the largest one
    :return: (B, K, 2) cells and (B, K) in [0, 1]
    """
    width = map_size(maps)[1]
    largest = maps.flatten(2).argmax(dim=-1, keepdim=True)  # (B, K, 1)
    peak_x = (largest % width).to(maps.dtype)
    # for non-negative numbers the same as floor, with four fewer operators in ONNX
    peak_y = torch.div(largest, width, rounding_mode='trunc').to(maps.dtype)
    x, y = _offsets(maps, torch.cat([peak_x, peak_y], dim=-1))
    near_x, near_y = (x.abs() <= radius).to(maps.dtype), (y.abs() <= radius).to(maps.dtype)
    window = maps * near_x[..., None, :] * near_y[..., :, None]
    along_x, along_y = window.sum(dim=-2), window.sum(dim=-1)
    mass = along_x.sum(dim=-1)
    # no guard against 0, so that NaN stays NaN; rounding may bring the mass above one
    return _means(along_x, along_y) / mass[..., None], mass.clamp(max=1.0)


def gaussian_maps(xy: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """
    Return a Gaussian with peak one at each point, H = exp(-|p - xy|^2 / sigma^2).

    There is no factor two and no normalisation, as in the code of Transporter's authors: at a
    distance of ``sigma`` the map is 1/e.

    :param xy: (B, K, 2) cells
    :param sigma: cells
    :return: (B, K, height, width) in [0, 1]
    """
    along_x = torch.exp(-(((_cells(xy, width) - xy[..., 0:1]) / sigma) ** 2))  # (B, K, w)
    along_y = torch.exp(-(((_cells(xy, height) - xy[..., 1:2]) / sigma) ** 2))  # (B, K, h)
    return along_y[..., :, None] * along_x[..., None, :]


def divergence(logits: Tensor, xy: Tensor, sigma: float) -> Tensor:
    """
    Return KL(q || p) of each map p to a Gaussian q at a point.

    The Gaussian sums to one over the cells, also for a point outside the map. Unlike the distance
    between means, the divergence has a gradient if a map is confident about the wrong place.

    :param logits: maps before the softmax, (B, K, h, w)
    :param xy: (B, K, 2) cells
    :param sigma: standard deviation of the Gaussian, cells
    :return: (B, K) nats
    """
    height, width = map_size(logits)
    logs = logits.flatten(2).log_softmax(dim=-1).view_as(logits)
    along_x = _normal(xy[..., 0:1], width, sigma)  # (B, K, w)
    along_y = _normal(xy[..., 1:2], height, sigma)  # (B, K, h)
    crossed = ((logs * along_x[..., None, :]).sum(-1) * along_y).sum(-1)
    entropy = -(torch.xlogy(along_x, along_x).sum(-1) + torch.xlogy(along_y, along_y).sum(-1))
    return -crossed - entropy


def _normal(centre: Tensor, cells: int, sigma: float) -> Tensor:
    """Return a normalised Gaussian along one axis, (..., 1) cells -> (..., cells)."""
    return (-((_cells(centre, cells) - centre) ** 2) / (2 * sigma**2)).softmax(dim=-1)


def overlap(maps: Tensor) -> Tensor:
    """
    Return the overlap between the maps of an image, (B, K, h, w) -> (B,).

    It is the sum of the products of all pairs of maps, divided by K: K - 1 if all mass is in one
    cell, 0 if no cell has mass of two maps. Unlike distances between points, it is sensitive to
    maps with mass in several places.

    :param maps: non-negative, each summing to one
    """
    together = maps.sum(dim=1).square().sum(dim=(1, 2))
    alone = maps.square().sum(dim=(1, 2, 3))
    return (together - alone) / maps.shape[1]


def union(maps: Tensor) -> Tensor:
    """
    Return the soft union of the maps, 1 - prod_k (1 - H_k): (B, K, h, w) -> (B, 1, h, w).

    It is in [0, 1], smooth, and independent of the order of the keypoints, unlike the sum and the
    sequential pasting in public implementations.
    """
    return 1.0 - (1.0 - maps).prod(dim=1, keepdim=True)
