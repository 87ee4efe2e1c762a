"""
Reconstruct a frame from another alone, by moving its features along with the keypoints.

WO2020225247, claims 12 to 22, https://patents.google.com/patent/WO2020225247A1; the second mode of
the transport of Kulkarni et al. 2019, https://arxiv.org/abs/1906.11883. With the symbols of
:mod:`.temporal_transport`, d_k = mu_k(x_t) - sg mu_k(x_s), and Shift[A, d](u) = A(u - d),
interpolated bilinearly with a repeated border::

    F = (1 - sg S) (1 - T) Phi(x_s) + sum_k H_k(x_t) Shift[Phi(x_s), d_k] / max(1, sum_k H_k(x_t))
    pixel = w |refine(F) - x_t|^2 / change
    spread = max(0, 1 - 2 sg pixel) mean_k of the variance of the map of k

Only the keypoint net sees the target: its content must be brought from the source by the motion of
the keypoints, so a keypoint must track an object and not only lie on something that differs.

The formulas of the claims are not legible in the published scan, so this is an interpretation:

- Phi(x_s) keeps its gradient. In temporal transport the target's features train the feature net;
  here the source's are the only ones (claim 17 trains it).
- The source's keypoints get no gradient, neither through S nor through d: as in temporal
  transport, they could otherwise learn to erase what is hard to predict.
- Claim 22 adds the shifted features, weighted by the bumps. Here, overlapping bumps are divided by
  their sum, so that two keypoints on one object do not bring it twice. Where the sum is below one,
  nothing is divided. The weights of what stays and of what is brought are those of the claim and
  can add up to more than one: (1 - T) + min(1, sum_k H_k) is 1.25 under two bumps of 0.5.
- With a camera that moves, mu_k(x_s) and Phi(x_s) are those in the target's view, as in temporal
  transport.
- The term ``spread``, ``both_ways`` and ``still_weight`` are those of temporal transport, for the
  same reasons.

All K shifts of all frames are one look-up: around each target keypoint only a window of three
sigma to each side is read, beyond which the bump is below 0.0001.
"""

from __future__ import annotations

import math

from keypoint_perception.learning.loss_terms import concentration
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.learning.reconstruction import (
    explained_motion,
    pair_weight,
    pixel_error,
    ReconstructionConfig,
)
from keypoint_perception.model.heatmaps import gaussian_maps, union
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import make_features, make_refiner, NetworkConfig
import torch
from torch import nn, Tensor
from torch.nn import functional

# Half the side of the window that is read around a keypoint, in sigma.
REACH = 3.0


class SpatioTemporalTransport(nn.Module):
    """Transport of the source's features from its keypoints to the target's."""

    Config = ReconstructionConfig
    weights = {'pixel': 1.0, 'spread': 0.4}  # noqa: RUF012 a constant, overridden by configuration
    needs = ('registration',)

    def __init__(
        self, config: ReconstructionConfig, network: NetworkConfig, statistics: DatasetStatistics
    ) -> None:
        super().__init__()
        self.config = config
        self.change = statistics.change
        self.one_way = not config.both_ways
        self.features = make_features(network)
        self.refine = make_refiner(network)

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,); the first frames are the sources."""
        target, goal = batch.points, batch.images
        source, brought = batch.partner_points(), self._brought(batch)
        spread = concentration(batch.maps, batch.points, batch.half_side)
        weight = pair_weight(batch, self.config.still_weight)
        count = len(batch.image0)
        if self.one_way:
            brought, source, target, goal, spread, weight = (
                both[count:] for both in (brought, source, target, goal, spread, weight)
            )
        answer = self.render(brought, source, target, self.config.sigma * batch.half_side)
        pixel = pixel_error(answer, goal, weight, self.change).view(-1, count).mean(dim=0)
        spread = spread.view(-1, count).mean(dim=0)
        return {'pixel': pixel, 'spread': explained_motion(pixel) * spread}

    def reconstruct(self, batch: PairBatch) -> Tensor:
        """Return the second frames, reconstructed from the first ones, (B, 3, H, W)."""
        sigma, count = self.config.sigma * batch.half_side, len(batch.image0)
        brought = self._brought(batch)[count:]
        return self.render(brought, batch.partner_points()[count:], batch.points[count:], sigma)

    def _brought(self, batch: PairBatch) -> Tensor:
        """Return the sources' features in the views of the targets, (2B, c, h, w)."""
        if self.one_way:  # those of the second frames are not needed
            features = self.features(batch.image0)
            return batch.partner(torch.cat([features, features]))
        return batch.partner(self.features(batch.images))

    def render(self, features: Tensor, source: Tensor, target: Tensor, sigma: float) -> Tensor:
        """Return the targets, from the sources' features in their view and keypoints of both."""
        targets: Tensor = self.refine(transport(features, source.detach(), target, sigma))
        return targets


def transport(features: Tensor, source: Tensor, target: Tensor, sigma: float) -> Tensor:
    """
    Return (1 - S)(1 - T) Phi(x_s) + the features shifted with the keypoints, (B, c, h, w) float32.

    :param features: of the sources, (B, c, h, w)
    :param source: keypoints, (B, K, 2) cells, like ``target``
    :param sigma: width of a bump, cells
    """
    features, hw = features.float(), map_size(features)
    bumps = gaussian_maps(target, *hw, sigma)
    left = (1 - union(gaussian_maps(source, *hw, sigma))) * (1 - union(bumps))
    brought = shifted(features, source, target, sigma)
    return left * features + brought / bumps.sum(dim=1, keepdim=True).clamp(min=1)


def shifted(features: Tensor, source: Tensor, target: Tensor, sigma: float) -> Tensor:
    """
    Return sum_k H_k Shift[A, d_k] with d = target - source, (B, c, h, w).

    The bumps H_k are cut off at :data:`REACH` sigma. The gradient reaches the features, the bumps
    and the positions at which features are read.

    :param features: A, (B, c, h, w) float32
    :param source: keypoints, (B, K, 2) cells, like ``target``
    :param sigma: width of a bump, cells
    """
    batch, channels, height, width = features.shape
    reach = math.ceil(REACH * sigma)
    side = torch.arange(-reach, reach + 1, device=features.device)
    offsets = torch.stack(torch.meshgrid(side, side, indexing='xy'), dim=-1).flatten(0, 1)
    cells = target.detach().round().long()[:, :, None] + offsets  # (B, K, n, 2)
    size = torch.tensor([width, height], device=features.device)
    inside = ((cells >= 0) & (cells < size)).all(dim=-1)
    bumps = torch.exp(-(cells - target[:, :, None]).square().sum(dim=-1) / sigma**2) * inside
    read = cells - (target - source)[:, :, None]
    grid = (2 * read + 1) / size - 1
    values = functional.grid_sample(
        features, grid, mode='bilinear', padding_mode='border', align_corners=False
    )  # (B, c, K, n)
    # bumps outside the map are zero, so it does not matter where they are added
    x, y = cells.clamp(min=0).minimum(size - 1).unbind(-1)
    where = (y * width + x).flatten(1)[:, None].expand(-1, channels, -1)
    moved = features.new_zeros(batch, channels, height * width)
    moved = moved.scatter_add(2, where, (values * bumps[:, None]).flatten(2))
    return moved.view_as(features)
