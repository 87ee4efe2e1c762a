"""
Reconstruct an image from K points and a short descriptor at each.

Zhang, Guo, Jin, Luo, He, Lee: Unsupervised discovery of object landmarks as structural
representations, 2018, https://arxiv.org/abs/1804.04412. The K maps and one of the background
compete for every cell; a keypoint is the centre of mass of its map::

    D_k(u) = exp l_k(u) / (1 + sum_j exp l_j(u)),   D_0 = 1 / (1 + sum_j exp l_j)
    p_k = D_k / sum_u D_k(u),                       mu_k = sum_u p_k(u) u
    f_k = W_k sum_u p_k(u) Phi_u(x),  k = 0 .. K    8 numbers each
    image = decode(at 5 widths: maps of mu_k and background, and f_k spread by them)

    pixel = |image - x|^2 / change
    concentration = mean_k of the variance of p_k
    separation = mean_{i != j} exp(-|mu_i - mu_j|^2 / (2 s^2))
    equivariance = mean_k |g(mu_k(x')) - mu_k(x)|^2,  x' the frame warped by g
    readout = mean_k of the variance of softmax l_k about sg mu_k

The background's logit is 0: a softmax over K + 1 channels depends only on differences, and the
network stays the one that every objective trains.

At run time the network reads a window around the largest cell of a softmax over the cells of a
map, which is exp l_k normalised; here p_k is that times the share that the other maps leave. Both
have the same peak where a keypoint has won its cells, but a map may be higher in cells that
another has won. So the term ``readout`` asks the run-time map to lie around mu_k, which gets no
gradient from it.

Departures, with their reasons:

- Lengths are in half image sides and every term is a mean over keypoints or pairs, so that weights
  depend neither on the size nor on K. The authors' sums have other weights in three stages
  (reconstruction 0.1, 1, 10; the others 100, 20, 10000); here all are of one size from the start.
- The concentration is the variance itself. Theirs is 2 pi e times the product of the standard
  deviations, equal up to a factor for round maps.
- Feature net and decoder work at the maps' resolution, and the feature net is local: a global one
  could hide the whole image in the descriptors.
- Widths start at 0.1 half sides instead of 0.25: a robot's parts are smaller than a face's.
- Keypoints that the warp moves out of the image do not count in the equivariance.
- The landmark-centred warp of the release is computed and then multiplied by zero; it is omitted.
  So is the optical flow, for which the release has no data.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.learning.data.photometric import ColourConfig, jitter_colours
from keypoint_perception.learning.data.warps import random_warp, WarpConfig
from keypoint_perception.learning.loss_terms import (
    concentration,
    equivariance,
    refuse_separable_reading,
    separation,
)
from keypoint_perception.learning.pair_batch import DatasetStatistics, pair_mean, PairBatch
from keypoint_perception.model.decoder import MapDecoder
from keypoint_perception.model.heatmaps import expectation, gaussian_maps
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import make_features, NetworkConfig
from keypoint_perception.settings import setting
import torch
from torch import nn, Tensor

# Length of a descriptor, and channels that it is unfolded to.
DESCRIPTION = 8
UNFOLDED = 16
# Widths at which the points are drawn for the decoder, each this much larger than the last.
WIDTHS = 5
RATIO = 2**0.5
# Value of the background's map relative to the peak of a point's, as in the paper.
BACKGROUND = 0.1


@dataclass(frozen=True)
class StructuralRepresentationConfig(ColourConfig, WarpConfig):
    """Settings of structural representation."""

    sigma: float = setting(
        0.1,
        above=0,
        high=1,
        help="Standard deviation of the narrowest of the decoder's maps, half image sides.",
    )
    apart: float = setting(
        0.16,
        above=0,
        high=1,
        help='Distance of the separation (s), half image sides; 0.16 in the paper for K = 10.',
    )


class StructuralRepresentation(nn.Module):
    """An autoencoder whose code is points and descriptors."""

    Config = StructuralRepresentationConfig
    weights = {  # noqa: RUF012 a constant, overridden by configuration
        'pixel': 1.0,
        'concentration': 1.0,
        'separation': 1.0,
        'equivariance': 30.0,
        'readout': 0.3,
    }

    def __init__(
        self,
        config: StructuralRepresentationConfig,
        network: NetworkConfig,
        statistics: DatasetStatistics,
    ) -> None:
        super().__init__()
        refuse_separable_reading(network, 'structural_representation')
        self.config = config
        self.change = statistics.change
        self.features = make_features(network)
        count, channels = network.keypoints + 1, self.features.channels
        self.describe = nn.Parameter(torch.randn(count, channels, DESCRIPTION) / channels**0.5)
        self.unfold = nn.Parameter(torch.randn(count, DESCRIPTION, UNFOLDED) / DESCRIPTION**0.5)
        self.decode = MapDecoder(
            WIDTHS * (count + UNFOLDED),
            3,
            stride=self.features.stride,
            width=network.width,
            norm=network.norm,
        )

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,): the means over the two frames of a pair."""
        images, half_side = batch.images, batch.half_side
        shares = detection_maps(batch.logits)
        points = expectation(shares[:, 1:])
        pixel = self._pixel(images, shares, points, half_side)
        warp = random_warp(len(images), batch.hw, self.config, device=images.device)
        warped = jitter_colours(warp.images(images), self.config.colour)
        points_warped = expectation(detection_maps(batch.network.logits(warped))[:, 1:])
        terms = {
            'pixel': pixel,
            'concentration': concentration(shares[:, 1:], points, half_side),
            'separation': separation(points, self.config.apart * half_side),
            'equivariance': equivariance(points, points_warped, warp, batch.hw)[0],
            'readout': concentration(batch.maps, points.detach(), half_side),
        }
        return {name: pair_mean(term) for name, term in terms.items()}

    def reconstruct(self, batch: PairBatch) -> Tensor:
        """Return the second frames, reconstructed from their own points and descriptors."""
        shares = detection_maps(batch.logits).chunk(2)[1]
        return self.render(batch.image1, shares, expectation(shares[:, 1:]), batch.half_side)

    def render(self, images: Tensor, shares: Tensor, points: Tensor, half_side: float) -> Tensor:
        """
        Return the reconstructed images, (B, 3, H, W).

        :param shares: the background's and the K keypoints', (B, 1 + K, h, w)
        :param points: (B, K, 2) cells
        """
        features = self.features(images).float().flatten(2)  # (B, c, cells)
        pooled = torch.einsum('bku,bcu->bkc', shares.flatten(2), features)
        described = torch.einsum('bkc,kcd->bkd', pooled, self.describe)
        unfolded = torch.einsum('bkd,kde->bke', described, self.unfold)
        drawn: list[Tensor] = []
        for i in range(WIDTHS):
            maps = draw(points, map_size(shares), self.config.sigma * RATIO**i * half_side)
            drawn += [maps, torch.einsum('bkhw,bke->behw', maps, unfolded)]
        reconstructed: Tensor = self.decode(torch.cat(drawn, dim=1))
        return reconstructed

    def _pixel(self, images: Tensor, shares: Tensor, points: Tensor, half_side: float) -> Tensor:
        reconstructed = self.render(images, shares, points, half_side)
        return (reconstructed - images).square().mean(dim=(1, 2, 3)) / self.change


def detection_maps(logits: Tensor) -> Tensor:
    """
    Return the maps of the background and of the keypoints, each summing to one.

    :param logits: log odds against the background, (B, K, h, w)
    :return: the background first, (B, 1 + K, h, w)
    """
    background = torch.zeros_like(logits[:, :1])
    # normalised in logarithms: a keypoint that lost every cell would otherwise be 0 / 0
    won = torch.cat([background, logits], dim=1).log_softmax(dim=1)
    return won.flatten(2).softmax(dim=-1).view_as(won)


def draw(points: Tensor, hw: tuple[int, int], sigma: float) -> Tensor:
    """
    Return the maps for the decoder, which sum to one in every cell.

    :param points: (B, K, 2) cells
    :param sigma: standard deviation of a point's map, cells
    :return: the background first, (B, 1 + K, h, w)
    """
    bumps = gaussian_maps(points, hw[0], hw[1], sigma * 2**0.5)
    background = torch.full_like(bumps[:, :1], BACKGROUND)
    maps = torch.cat([background, bumps], dim=1)
    return maps / maps.sum(dim=1, keepdim=True)
