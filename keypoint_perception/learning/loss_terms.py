"""
Terms that several objectives share, per sample, in units that mean the same at every size.

Lengths are in half image sides, the longer one (``PairBatch.half_side`` cells), so that a weight
found at one size of map suits another. Everything here is float32, whatever the precision of the
networks.
"""

from __future__ import annotations

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.data.warps import Warp
from keypoint_perception.model.heatmaps import variance
from keypoint_perception.model.network import NetworkConfig
import torch
from torch import Tensor


def separation(points: Tensor, width: float) -> Tensor:
    """
    Return how near keypoints are to each other, in [0, 1], (B, K, 2) -> (B,).

    The mean over all pairs of exp(-d^2 / (2 width^2)): 1 where all keypoints are one, 0 where all
    are far apart (Zhang et al. 2018, equation 4, and BKinD 2022 sum it over the pairs).

    :param points: in any unit
    :param width: in the same unit
    """
    count = points.shape[1]
    if count < 2:
        return points.sum(dim=(1, 2)) * 0
    square = (points[:, :, None] - points[:, None]).float().square().sum(dim=-1)
    near = torch.exp(-square / (2 * width**2))
    # the diagonal is one and no pair
    return (near.sum(dim=(1, 2)) - count) / (count * (count - 1))


def concentration(maps: Tensor, points: Tensor, half_side: float) -> Tensor:
    """
    Return how far maps spread about their points, (B, K, h, w), (B, K, 2) -> (B,).

    The mean over the keypoints of the variance along x and y together, in half image sides
    squared.

    :param maps: non-negative, each summing to one
    :param points: cells
    :param half_side: cells
    """
    return variance(maps, points).mean(dim=-1) / half_side**2


def equivariance(
    points: Tensor, warped: Tensor, warp: Warp, hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """
    Return how far keypoints of warped images are from the warped keypoints, (B,), and which count.

    The mean squared distance, in half image sides squared, over the keypoints that the warped
    image still shows. It is measured in the image that is not warped, where a warp that enlarges
    does not make it larger. Both detections get the gradient; detach one to have a fixed target.

    :param points: keypoints of the images, (B, K, 2) cells
    :param warped: keypoints of the warped images, (B, K, 2) cells
    :param hw: height and width of the maps, cells
    :return: (B,), and (B, K) bool
    """
    seen = warp.inside(points.detach(), hw)
    square = (warp.back(warped, hw) - points).float().square().sum(dim=-1)
    return masked_mean(square, seen) / (max(hw) / 2) ** 2, seen


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """
    Return the mean of the values that count, and zero where none does.

    :param values: (B, ...)
    :param mask: bool, or weights in [0, 1], of the same shape
    :return: (B,)
    """
    axes = tuple(range(1, values.dim()))
    mask = mask.to(values.dtype)
    return (values * mask).sum(dim=axes) / mask.sum(dim=axes).clamp(min=1e-6)


def refuse_separable_reading(network: NetworkConfig, objective: str) -> None:
    """
    Refuse a network whose points are not read from the maps that an objective trains.

    :raises ConfigError: if it is the Transporter paper's, which reads each axis alone
    """
    if network.network == 'paper':
        msg = (
            f'network: {objective} learns maps over both axes at once, and the network paper '
            'reads each axis alone; choose another network, such as default.'
        )
        raise ConfigError(msg)
