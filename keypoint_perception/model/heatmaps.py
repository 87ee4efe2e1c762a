"""
From maps to points and back.

Positions here are ``(x, y)`` = (column, row) in cells, a cell's centre being an integer; the step
to pixels is :func:`keypoint_perception.keypoints.cells_to_network`. Learning reads the whole map,
because every cell must get a gradient; a robot reads a window round the largest cell, because far
away mass pulls the mean off the peak by whole cells and a window does not notice it.
"""

from __future__ import annotations

from keypoint_perception.model.layers import map_size
import torch
from torch import Tensor
from torch.nn import functional


def softmax_2d(logits: Tensor) -> Tensor:
    """Return each map's probabilities over its cells, (B, K, h, w) -> (B, K, h, w)."""
    return logits.flatten(2).softmax(dim=-1).view_as(logits)


def expectation(maps: Tensor) -> Tensor:
    """
    Return each map's centre of mass.

    :param maps: non-negative and summing to one, (B, K, h, w)
    :return: (B, K, 2) cells

    A 2 x 2 map of [[0, 0], [0.5, 0.5]] has its centre at (0.5, 1).
    """
    height, width = maps.shape[-2:]
    x = torch.arange(width, dtype=maps.dtype, device=maps.device)
    y = torch.arange(height, dtype=maps.dtype, device=maps.device)
    return torch.stack([(maps.sum(dim=-2) * x).sum(-1), (maps.sum(dim=-1) * y).sum(-1)], dim=-1)


def variance(maps: Tensor, xy: Tensor) -> Tensor:
    """
    Return each map's variance about a point, along x and y together.

    :param maps: non-negative and summing to one, (B, K, h, w)
    :param xy: (B, K, 2) cells
    :return: (B, K) cells^2
    """
    height, width = maps.shape[-2:]
    x = torch.arange(width, dtype=maps.dtype, device=maps.device) - xy[..., 0:1]  # (B, K, w)
    y = torch.arange(height, dtype=maps.dtype, device=maps.device) - xy[..., 1:2]  # (B, K, h)
    return (maps.sum(dim=-2) * x.square()).sum(-1) + (maps.sum(dim=-1) * y.square()).sum(-1)


def steepness(logits: Tensor) -> Tensor:
    """
    Return how far each map's largest cell stands above the four round it, before the softmax.

    A bump of width s cells has 1 / (2 s^2) here, wherever between the cells its middle is.

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
    Return each map's covariance about a point: how sure a keypoint is, and in which direction.

    It is of the whole map, so far away mass counts; BKinD (2022) gives it beside each keypoint.

    :param maps: non-negative and summing to one, (B, K, h, w)
    :param xy: (B, K, 2) cells
    :return: [[xx, xy], [xy, yy]], (B, K, 2, 2) cells^2; its trace is :func:`variance`
    """
    height, width = maps.shape[-2:]
    x = torch.arange(width, dtype=maps.dtype, device=maps.device) - xy[..., 0:1]  # (B, K, w)
    y = torch.arange(height, dtype=maps.dtype, device=maps.device) - xy[..., 1:2]  # (B, K, h)
    xx = (maps.sum(dim=-2) * x.square()).sum(-1)
    yy = (maps.sum(dim=-1) * y.square()).sum(-1)
    cross = ((maps * x[..., None, :]).sum(-1) * y).sum(-1)
    return torch.stack([torch.stack([xx, cross], -1), torch.stack([cross, yy], -1)], dim=-2)


def separable_expectation(logits: Tensor) -> Tensor:
    """
    Return the points of the Transporter paper's own read-out, (B, K, h, w) -> (B, K, 2) cells.

    Logits are averaged over one axis and go through a softmax along the other. A peak needs much
    larger logits here than under :func:`softmax_2d` to be found where it is.
    """
    height, width = map_size(logits)
    x = torch.arange(width, dtype=logits.dtype, device=logits.device)
    y = torch.arange(height, dtype=logits.dtype, device=logits.device)
    along_x = logits.mean(dim=-2).softmax(dim=-1)  # (B, K, w)
    along_y = logits.mean(dim=-1).softmax(dim=-1)  # (B, K, h)
    return torch.stack([(along_x * x).sum(-1), (along_y * y).sum(-1)], dim=-1)


def windowed_expectation(maps: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """
    Return the centre of mass round each map's largest cell, and the mass that was found there.

    The mass in the window is the confidence: near one for a single sharp peak, near the window's
    share of the map where the network does not know. Only comparisons and sums are used, so that
    every ONNX runtime has the operators.

    :param maps: non-negative and summing to one, (B, K, h, w)
    :param radius: cells to each side of the largest one
    :return: (B, K, 2) cells and (B, K) in [0, 1]
    """
    height, width = map_size(maps)
    x = torch.arange(width, dtype=maps.dtype, device=maps.device)
    y = torch.arange(height, dtype=maps.dtype, device=maps.device)
    largest = maps.flatten(2).argmax(dim=-1, keepdim=True)  # (B, K, 1)
    peak_x = (largest % width).to(maps.dtype)
    # of what is never negative, trunc is floor, and four operators fewer in ONNX
    peak_y = torch.div(largest, width, rounding_mode='trunc').to(maps.dtype)
    near_x = ((x - peak_x).abs() <= radius).to(maps.dtype)  # (B, K, w)
    near_y = ((y - peak_y).abs() <= radius).to(maps.dtype)  # (B, K, h)
    window = maps * near_x[..., None, :] * near_y[..., :, None]
    along_x, along_y = window.sum(dim=-2), window.sum(dim=-1)
    mass = along_x.sum(dim=-1)
    xy = torch.stack([(along_x * x).sum(-1), (along_y * y).sum(-1)], dim=-1)
    # a map of NaN must stay NaN, so the divisor has no guard; rounding may bring the mass past one
    return xy / mass[..., None], mass.clamp(max=1.0)


def gaussian_maps(xy: Tensor, height: int, width: int, sigma: float) -> Tensor:
    """
    Draw a bump of peak one at each point, H = exp(-|p - xy|^2 / sigma^2).

    There is no factor two and no normalisation (Transporter, authors' code): at a distance of
    ``sigma`` the map is 1/e. The bump is a product of its two axes, which is how it is computed.

    :param xy: (B, K, 2) cells
    :param sigma: cells
    :return: (B, K, height, width) in [0, 1]
    """
    x = torch.arange(width, dtype=xy.dtype, device=xy.device)
    y = torch.arange(height, dtype=xy.dtype, device=xy.device)
    along_x = torch.exp(-(((x - xy[..., 0:1]) / sigma) ** 2))  # (B, K, w)
    along_y = torch.exp(-(((y - xy[..., 1:2]) / sigma) ** 2))  # (B, K, h)
    return along_y[..., :, None] * along_x[..., None, :]


def divergence(logits: Tensor, xy: Tensor, sigma: float) -> Tensor:
    """
    Return how little maps say where points are: KL(q || p), q a bump there and p the map.

    The bump is a Gaussian that sums to one over the cells; of a point beyond the border it lies
    on the nearest cells. Unlike a distance between means, this has a slope where a map is sure of
    the wrong place.

    :param logits: maps before the softmax, (B, K, h, w)
    :param xy: (B, K, 2) cells
    :param sigma: standard deviation of the bump, cells
    :return: (B, K) nats
    """
    height, width = logits.shape[-2:]
    logs = logits.flatten(2).log_softmax(dim=-1).view_as(logits)
    along_x = _normal(xy[..., 0:1], width, sigma)  # (B, K, w)
    along_y = _normal(xy[..., 1:2], height, sigma)  # (B, K, h)
    crossed = ((logs * along_x[..., None, :]).sum(-1) * along_y).sum(-1)
    entropy = -(torch.xlogy(along_x, along_x).sum(-1) + torch.xlogy(along_y, along_y).sum(-1))
    return -crossed - entropy


def _normal(centre: Tensor, cells: int, sigma: float) -> Tensor:
    """Return a Gaussian along one axis that sums to one, (..., 1) cells -> (..., cells)."""
    place = torch.arange(cells, dtype=centre.dtype, device=centre.device)
    return (-((place - centre) ** 2) / (2 * sigma**2)).softmax(dim=-1)


def overlap(maps: Tensor) -> Tensor:
    """
    Return how much maps claim the same cells, (B, K, h, w) -> (B,).

    The sum over all pairs of maps of their product, for each map: K - 1 where all are one and the
    same cell, 0 where no cell belongs to two. Distances between points do not notice maps that
    have mass in several places; this does.

    :param maps: non-negative, each summing to one
    """
    together = maps.sum(dim=1).square().sum(dim=(1, 2))
    alone = maps.square().sum(dim=(1, 2, 3))
    return (together - alone) / maps.shape[1]


def union(maps: Tensor) -> Tensor:
    """
    Return where any of the maps is, 1 - prod_k (1 - H_k): (B, K, h, w) -> (B, 1, h, w).

    Bounded by [0, 1], smooth, and the same for every order of the keypoints; the public codes'
    sum is not bounded and their pasting one after another depends on the order.
    """
    return 1.0 - (1.0 - maps).prod(dim=1, keepdim=True)
