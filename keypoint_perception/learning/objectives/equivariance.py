"""
Keypoints must move with the image under random warps.

Thewlis, Bilen, Vedaldi: Unsupervised learning of object landmarks by factorized spatial
embeddings, 2017, https://arxiv.org/abs/1705.02193. A frame x is warped into x'; a cell v of x'
shows the position g(v) of x. With the map p of a keypoint in x and p' in x'::

    E |u - g(v)|^2 = E|u|^2 + E|g(v)|^2 - 2 E u . E g(v),  u ~ p_k, v ~ p'_k
                   = align + spread
    align     = |E u - E g(v)|^2
    spread    = E|u - E u|^2 + E|g(v) - E g(v)|^2
    diversity = 1 - 1/K sum_cells max_k pool(p_k)

each but the last a mean over the keypoints that the warp leaves in the image; ``diversity`` is the
mean of that of x and x'. The factorised form is exact and needs two sums per
map instead of one over all pairs of cells. It is zero only for maps of one cell each that follow
the warp. Diversity asks the K maps to be disjoint; otherwise one point would serve for all.

The option ``exchange`` follows Thewlis, Albanie, Bilen, Vedaldi: Unsupervised learning of
landmarks by descriptor vector exchange, 2019, https://arxiv.org/abs/1908.06427. With a feature net
Phi of this objective, whose vectors have length 20, and the other frame y of the pair::

    f_k = sum_u p_k(u) Phi_u(x), scaled to length 20           the keypoint's vector
    e_k = sum_w softmax_w <f_k, Phi_w(y)> Phi_w(y)             exchanged for vectors of y
    exchange = mean_k sum_v softmax_v <e_k, Phi_v(x')> sg |g(v) - E u|^(1/2)

A keypoint is located in the warped frame by its vector in another frame, so it must look alike in
both: the maps then prefer positions that are distinct from all others.

Departures, with their reasons:

- The two parts of the paper's distance are two terms; with equal weights they are the paper's. At
  this learning rate, twenty times theirs, the whole distance makes maps of one cell within a
  hundred steps, before they follow anything, and such maps have no gradient left.
- Lengths are in half image sides, so that the weights do not depend on the input size.
- Keypoints that the warp moves out of the image do not count; the paper's faces stay inside.
- Pooling counts the full mass of cells at the border too. The public code (by a third party; the
  authors released none) counts less, so that points near the border would cost more.
- Both frames of a pair are warped, with a spline besides the similarity, and recoloured. Rotations
  cover the full circle instead of 29 degrees, since links of a robot rotate fully.
- The exchange is done at the K keypoints. The paper does it at every cell, for a dense field of
  vectors that a second, supervised step turns into points; here the points are learned directly.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.learning.data.photometric import ColourConfig, jitter_colours
from keypoint_perception.learning.data.warps import (
    cell_centres,
    random_warp,
    to_half_sides,
    WarpConfig,
)
from keypoint_perception.learning.loss_terms import masked_mean, refuse_separable_reading
from keypoint_perception.learning.pair_batch import DatasetStatistics, pair_mean, PairBatch
from keypoint_perception.learning.partner_views import swap
from keypoint_perception.model.heatmaps import expectation, softmax_2d
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import make_features, NetworkConfig
from keypoint_perception.settings import setting
import torch
from torch import nn, Tensor
from torch.nn import functional

# Length of the vectors that are exchanged: their products are the softmax's logits.
LENGTH = 20.0


@dataclass(frozen=True)
class EquivarianceConfig(ColourConfig, WarpConfig):
    """Settings of equivariance."""

    angle: float = 180.0
    scale: float = 0.3
    shift: float = 0.2
    pool: float = setting(
        0.25,
        above=0,
        high=1,
        help='Side of the window in which maps must not overlap, half image sides.',
    )
    exchange: bool = setting(
        False, help='Find keypoints again in the other frame by their feature vectors.'
    )


class Equivariance(nn.Module):
    """Alignment of the maps of frames and of warped frames."""

    Config = EquivarianceConfig
    weights = {  # noqa: RUF012 a constant, overridden by configuration
        'align': 10.0,
        'spread': 0.1,
        'diversity': 1.0,
        'exchange': 0.3,
    }

    def __init__(
        self, config: EquivarianceConfig, network: NetworkConfig, statistics: DatasetStatistics
    ) -> None:
        super().__init__()
        refuse_separable_reading(network, 'equivariance')
        self.config = config
        if config.exchange:
            self.features = make_features(network)

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,): the means over the two frames of a pair."""
        images, maps, hw = batch.images, batch.maps, batch.hw
        warp = random_warp(len(images), hw, self.config, device=images.device)
        warped = jitter_colours(warp.images(images), self.config.colour)
        maps_warped = softmax_2d(batch.network.logits(warped))
        sources = to_half_sides(warp.sources(hw), hw)
        seen = warp.inside(expectation(maps.detach()), hw)
        align, spread = alignment(maps, maps_warped, sources)
        pool = max(1, round(self.config.pool * batch.half_side))
        apart = (diversity(maps, pool) + diversity(maps_warped, pool)) / 2
        exchanged = torch.zeros_like(apart)
        if self.config.exchange:
            exchanged = self._exchange(images, warped, maps, sources, seen)
        terms = {
            'align': masked_mean(align, seen),
            'spread': masked_mean(spread, seen),
            'diversity': apart,
            'exchange': exchanged,
        }
        return {name: pair_mean(term) for name, term in terms.items()}

    def _exchange(
        self, images: Tensor, warped: Tensor, maps: Tensor, sources: Tensor, seen: Tensor
    ) -> Tensor:
        """Return the mean distance at which keypoints are found by exchanged vectors, (2B,)."""
        found = self.features(torch.cat([images, warped])).float()
        with torch.autocast(found.device.type, enabled=False):
            vectors, vectors_warped = _vectors(found).chunk(2)  # (2B, C, cells) each
            pooled = maps.flatten(2) @ vectors.transpose(1, 2)  # (2B, K, C)
            with torch.no_grad():
                cells = _grid(map_size(maps), maps.device)
                middle = maps.flatten(2) @ cells  # (2B, K, 2) half sides
                away = torch.cdist(middle, sources.flatten(1, 2)).sqrt()  # (2B, K, cells)
            queries = _vectors(pooled.transpose(1, 2))
            distance = exchanged_distance(queries, swap(vectors), vectors_warped, away)
        return masked_mean(distance, seen)


def alignment(maps: Tensor, warped: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return the two parts of E|u - g(v)|^2 for u and v drawn from the maps.

    :param maps: of the images, each summing to one, (B, K, h, w)
    :param warped: of the warped images, (B, K, h, w)
    :param sources: g of every cell, (B, h, w, 2) half image sides
    :return: the squared distance of the means and the sum of the two variances, (B, K) each, half
        image sides squared
    """
    with torch.autocast(maps.device.type, enabled=False):
        u = _grid(map_size(maps), maps.device)  # (cells, 2)
        v = sources.flatten(1, 2)  # (B, cells, 2)
        p, q = maps.flatten(2), warped.flatten(2)  # (B, K, cells)
        mean, mean_warped = p @ u, q @ v  # (B, K, 2)
        square = p @ u.square().sum(dim=-1)  # (B, K)
        square_warped = (q @ v.square().sum(dim=-1, keepdim=True)).squeeze(-1)
        within = mean.square().sum(dim=-1) + mean_warped.square().sum(dim=-1)
        distance = (mean - mean_warped).square().sum(dim=-1)
        return distance, square + square_warped - within


def diversity(maps: Tensor, pool: int) -> Tensor:
    """
    Return how much maps overlap within windows, (B, K, h, w) -> (B,) in [0, 1 - 1 / K].

    Zero where no window holds mass of two maps, 1 - 1/K where all maps are the same.

    :param maps: each summing to one
    :param pool: cells along a side of a window
    """
    rim = pool - 1
    pooled = functional.avg_pool2d(functional.pad(maps, (rim,) * 4), pool, stride=1)
    return 1 - pooled.amax(dim=1).sum(dim=(1, 2)) / maps.shape[1]


def exchanged_distance(queries: Tensor, other: Tensor, warped: Tensor, away: Tensor) -> Tensor:
    """
    Return how far from where they belong vectors are found, on average, (B, N).

    :param queries: vectors of one image, (B, C, N)
    :param other: vectors of another image, for which they are exchanged, (B, C, cells)
    :param warped: vectors of the warped image, in which they are looked for, (B, C, cells)
    :param away: distance of every cell of the warped image from each right place, (B, N, cells)
    """
    alike = (queries.transpose(1, 2) @ other).softmax(dim=-1)  # (B, N, cells)
    exchanged = alike @ other.transpose(1, 2)  # (B, N, C)
    return ((exchanged @ warped).softmax(dim=-1) * away).sum(dim=-1)


def _vectors(features: Tensor) -> Tensor:
    """Return features (B, C, ...) as vectors of one length, (B, C, N)."""
    return LENGTH * functional.normalize(features.flatten(2), dim=1)


def _grid(hw: tuple[int, int], device: torch.device) -> Tensor:
    """Return the cells' centres, (h w, 2) half image sides from the middle."""
    return to_half_sides(cell_centres(hw).to(device), hw)
