"""
Loss terms shared by several objectives, per sample and independent of the image size.

Lengths are in half image sides, the longer one (``PairBatch.half_side`` cells), so that weights do
not depend on the size of the maps. All terms are float32, whatever the precision of the networks.
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
    Return how close keypoints are to each other, in [0, 1], (B, K, 2) -> (B,).

    The mean over all pairs of exp(-d^2 / (2 width^2)): 1 if all keypoints coincide, 0 if all are
    far apart (Zhang et al. 2018, equation 4, and BKinD 2022 sum it over the pairs).

    :param width: in the unit of the points
    """
    count = points.shape[1]
    if count < 2:
        return points.sum(dim=(1, 2)) * 0
    square = (points[:, :, None] - points[:, None]).float().square().sum(dim=-1)
    near = torch.exp(-square / (2 * width**2))
    # without the diagonal, which is one
    return (near.sum(dim=(1, 2)) - count) / (count * (count - 1))


def concentration(maps: Tensor, points: Tensor, half_side: float) -> Tensor:
    """
    Return how far maps spread around their points, (B, K, h, w), (B, K, 2) -> (B,).

    The mean over the keypoints of the variance, x and y summed, in half image sides squared.

    :param maps: non-negative, each summing to one
    """
    return variance(maps, points).mean(dim=-1) / half_side**2


def equivariance(
    points: Tensor, warped: Tensor, warp: Warp, hw: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """
    Return the distance of keypoints of warped images from the warped keypoints, and which count.

    The mean squared distance, in half image sides squared, over the keypoints that are visible in
    the warped image. It is measured in the unwarped image, where an enlarging warp does not
    increase it. Both detections get a gradient; detach one to use it as a fixed target.

    :param points: keypoints of the images, (B, K, 2) cells; ``warped``: of the warped images
    :param hw: height and width of the maps, cells
    :return: (B,), and (B, K) bool
    """
    seen = warp.inside(points.detach(), hw)
    square = (warp.back(warped, hw) - points).float().square().sum(dim=-1)
    return masked_mean(square, seen) / (max(hw) / 2) ** 2, seen


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """
    Return the mean of the masked values, zero where the mask is empty.

    :param values: (B, ...)
    :param mask: bool, or weights in [0, 1], of the same shape
    :return: (B,)
    """
    axes = tuple(range(1, values.dim()))
    mask = mask.to(values.dtype)
    return (values * mask).sum(dim=axes) / mask.sum(dim=axes).clamp(min=1e-6)


def refuse_separable_reading(network: NetworkConfig, objective: str) -> None:
    """Refuse the network of the Transporter paper, whose points are not read from 2-D maps."""
    if network.network == 'paper':
        msg = (
            f"network: {objective} needs 2-D heatmaps, but network 'paper' reads each axis "
            'separately; choose another network, such as default.'
        )
        raise ConfigError(msg)
