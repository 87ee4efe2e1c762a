"""
Redraw a mostly masked image from keypoints that are linked by edges.

He, Wandt, Rhodin: AutoLink: Self-supervised learning of human skeletons and object outlines by
linking keypoints, 2022, https://arxiv.org/abs/2205.10636. With one weight w_ij for each pair of
keypoints, the same in all frames, d_ij(u) the distance of a cell from the segment between the two
keypoints, and 80 % of the blocks of the frame masked::

    edges(u)   = max_ij softplus(a w_ij) exp(-d_ij(u)^2 / s^2)
    pixel      = |decode(edges, b masked x) - x| / sqrt(change),  b a learned brightness
    perceptual = squared difference of the two in the layers of a fixed net (:mod:`..perceptual`)
    spread     = max(0, 1 - 2 sg squared) mean_k of the variance of the map of k
    squared    = |decode(edges, b masked x) - x|^2 / change

The masked frame shows colours and background; only the edges show where the parts are. So points
move to where a few straight lines draw what changes from frame to frame, and the weights become
the graph that links them: :meth:`EdgeLinking.skeleton`, which is written to the manifest and drawn
in every overlay.

Departures, with their reasons:

- Frames are compared in pixels too, and in the layers of random filters if there are no weights of
  VGG-16, so that nothing is downloaded. The paper compares in VGG-16 alone.
- Edges are drawn at a quarter of the resolution, and s is 0.07 half sides instead of 0.03 to 0.05,
  which is less than a cell there.
- Only the strongest edge of a cell is computed with its gradient, since a maximum gives none to
  the others. With 190 edges between 20 points, this is what a CPU can afford.
- a is 25 instead of 512: the rate of a weight is a times the learning rate, which is twenty times
  theirs here.
- The term ``spread`` asks for maps with one peak, because the robot reads a window around it and
  not the mean of the map; 0 is the paper's. It counts as far as keypoints explain the motion:
  earlier, it would freeze them. Variances are in half image sides squared.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.errors import ConfigError
from keypoint_perception.keypoints import cells_to_network, network_to_cells
from keypoint_perception.learning.data.warps import cell_centres
from keypoint_perception.learning.loss_terms import concentration
from keypoint_perception.learning.pair_batch import DatasetStatistics, pair_mean, PairBatch
from keypoint_perception.learning.partner_views import swap
from keypoint_perception.learning.perceptual import ComparisonConfig, make_comparison
from keypoint_perception.learning.reconstruction import explained_motion
from keypoint_perception.model.decoder import MapDecoder
from keypoint_perception.model.layers import SpaceToDepth
from keypoint_perception.model.network import NetworkConfig
from keypoint_perception.settings import setting
import torch
from torch import nn, Tensor
from torch.nn import functional

# a, and the weights' mean before the softplus and its spread at the start, as the authors have it.
PACE = 25.0
START, START_SPREAD = -4.0, 0.1
# A learned edge weighs at least this many times its initial weight.
GROWN = 2.0
# Pixels along a side of the cells in which edges are drawn.
STRIDE = 4
# Samples whose edges are compared at once: few enough to stay in the cache of a core.
CHUNK = 2


@dataclass(frozen=True)
class EdgeLinkingConfig(ComparisonConfig):
    """Settings of edge linking."""

    thickness: float = setting(
        0.07,
        above=0,
        high=1,
        help='Distance from an edge at which it has fallen to 1/e, half image sides.',
    )
    masked: float = setting(0.8, low=0, high=1, help='Share of the blocks that are masked.')
    blocks: int = setting(16, low=1, help='Blocks along the longer image side.')
    threshold: float = setting(
        0.2,
        low=0,
        high=1,
        help='Weight of the weakest edge of the skeleton, as a share of the strongest.',
    )


class EdgeLinking(nn.Module):
    """An autoencoder whose code is a graph that is drawn."""

    pairs: Tensor

    Config = EdgeLinkingConfig
    weights = {'pixel': 1.0, 'perceptual': 1.0, 'spread': 0.05}  # noqa: RUF012 a constant

    def __init__(
        self, config: EdgeLinkingConfig, network: NetworkConfig, statistics: DatasetStatistics
    ) -> None:
        super().__init__()
        if network.keypoints < 2:
            msg = 'keypoints: edge_linking links at least 2 keypoints, got 1.'
            raise ConfigError(msg)
        self.config = config
        self.change = statistics.change
        self.compare = make_comparison(config)
        pairs = torch.triu_indices(network.keypoints, network.keypoints, offset=1)
        self.register_buffer('pairs', pairs, persistent=False)  # (2, E)
        start = START + START_SPREAD * torch.randn(pairs.shape[1])
        self.links = nn.Parameter(start / PACE)
        # brightness at which the decoder sees the masked frame
        self.share = nn.Parameter(torch.ones(()))
        self.fold = SpaceToDepth(STRIDE)
        self.decode = MapDecoder(
            3 * STRIDE**2 + 1, 3, stride=STRIDE, width=network.width, norm=network.norm
        )

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,): the means over the two frames of a pair."""
        images = batch.images
        reconstructed = self.render(images, batch.points, batch.network.stride)
        error = reconstructed - images
        pixel = error.abs().mean(dim=(1, 2, 3)) / self.change**0.5
        squared = error.square().mean(dim=(1, 2, 3)) / self.change
        perceptual = torch.zeros_like(pixel)
        if self.compare is not None:
            # it expects the other frames first
            perceptual = self.compare(reconstructed, swap(images), torch.ones_like(images[:, :1]))
        spread = concentration(batch.maps, batch.points, batch.half_side)
        terms = {
            'pixel': pixel,
            'perceptual': perceptual,
            'spread': explained_motion(squared) * spread,
        }
        return {name: pair_mean(term) for name, term in terms.items()}

    def reconstruct(self, batch: PairBatch) -> Tensor:
        """Return the second frames, drawn from their own edges and masked frames."""
        return self.render(batch.image1, batch.points.chunk(2)[1], batch.network.stride)

    def render(self, images: Tensor, points: Tensor, stride: int) -> Tensor:
        """
        Return the reconstructed images, (B, 3, H, W).

        :param points: keypoints of the images, (B, K, 2) cells
        :param stride: pixels along a side of such a cell
        """
        left = images * self._visible_mask(images)
        hw = (images.shape[-2] // STRIDE, images.shape[-1] // STRIDE)
        points = network_to_cells(cells_to_network(points.float(), stride), STRIDE)
        thickness = self.config.thickness * max(hw) / 2
        edges = edge_map(points, self.pairs, self.edge_weights(), hw, thickness)
        drawn: Tensor = self.decode(torch.cat([self.fold(left * self.share), edges], dim=1))
        return drawn

    def edge_weights(self) -> Tensor:
        """Return the weight of every pair of keypoints, (E,), in the order of ``pairs``."""
        return functional.softplus(PACE * self.links)

    @torch.no_grad()
    def skeleton(self) -> list[tuple[int, int, float]]:
        """
        Return the learned edges: two keypoints, the lower first, and a weight.

        The strongest weighs 1. No edge counts until it has grown well beyond its initial weight.
        """
        weights = self.edge_weights().cpu()
        largest = float(weights.max())
        grown = GROWN * float(functional.softplus(torch.tensor(START)))
        least = max(self.config.threshold * largest, grown)
        return [
            (i, j, round(weight / largest, 4))
            for (i, j), weight in zip(self.pairs.T.tolist(), weights.tolist(), strict=True)
            if weight >= least
        ]

    def _visible_mask(self, images: Tensor) -> Tensor:
        """Return a random mask, (B, 1, H, W): 1 where frames stay visible."""
        height, width = images.shape[-2:]
        side = self.config.blocks / max(height, width)
        hw = (max(1, round(side * height)), max(1, round(side * width)))
        # drawn on the CPU, so that the numbers are the same on every device
        left = (torch.rand(len(images), 1, *hw) >= self.config.masked).to(images)
        return functional.interpolate(left, size=(height, width), mode='nearest')


def edge_map(
    points: Tensor, pairs: Tensor, weights: Tensor, hw: tuple[int, int], thickness: float
) -> Tensor:
    """
    Return the strongest edge in every cell, max_e w_e exp(-d_e^2 / s^2), (B, 1, h, w).

    :param points: (B, K, 2) cells
    :param pairs: keypoints of each edge, (2, E)
    :param weights: positive, (E,)
    :param thickness: s, cells
    """
    first, second = points[:, pairs[0]], points[:, pairs[1]]  # (B, E, 2)
    with torch.no_grad():
        chunks = zip(first.split(CHUNK), second.split(CHUNK), strict=True)
        found = [_strongest(a, b, weights, hw, thickness) for a, b in chunks]
        strongest = torch.cat(found).flatten(1)  # (B, h w)
    cells = cell_centres(hw).to(points)  # (h w, 2)
    chosen = strongest[..., None].expand(-1, -1, 2)
    start, end = first.gather(1, chosen), second.gather(1, chosen)  # (B, h w, 2)
    square = squared_distance(cells, start, end)
    return (weights[strongest] * torch.exp(-square / thickness**2)).view(-1, 1, *hw)


def squared_distance(cells: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Return the squared distances (...,) of points from segments, all (..., 2)."""
    along, away = end - start, cells - start
    share = (away * along).sum(dim=-1) / along.square().sum(dim=-1).clamp(min=1e-6)
    return (away - share.clamp(0, 1)[..., None] * along).square().sum(dim=-1)


def _strongest(
    start: Tensor, end: Tensor, weights: Tensor, hw: tuple[int, int], thickness: float
) -> Tensor:
    """Return which edge is strongest in every cell, (b, h, w): the largest log w - d^2 / s^2."""
    x = torch.arange(hw[1], device=start.device) - start[..., 0:1]  # (b, E, w)
    y = torch.arange(hw[0], device=start.device) - start[..., 1:2]  # (b, E, h)
    along = end - start
    length = along.square().sum(dim=-1)[..., None, None].clamp(min=1e-6)
    # all but the clamp is a sum over x and y, so whole maps are computed only three times
    product = (x * along[..., 0:1])[:, :, None] + (y * along[..., 1:2])[:, :, :, None]
    square = x.square()[:, :, None] + y.square()[:, :, :, None]
    share = (product / length).clamp_(0, 1)
    square -= share * product.mul_(2).sub_(share * length)
    return (weights.log()[:, None, None] - square / thickness**2).argmax(dim=1)
