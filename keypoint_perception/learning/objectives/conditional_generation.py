"""
Generate a frame from the appearance of another and from its own keypoints.

Jakab, Gupta, Bilen, Vedaldi: Unsupervised learning of object landmarks through conditional image
generation, 2018, https://arxiv.org/abs/1806.07823 ("IMM"). With the appearance net Phi, bumps H_k
at the keypoints of the keypoint net, a source frame x_s and a target frame x_t::

    y = decode(Phi(x_s), H_1(x_t), ..., H_K(x_t))
    pixel = w |y - x_t|^2 / change
    perceptual = mean_l w |f_l(y) - f_l(x_t)|^2 / change of the layer
    spread = max(0, 1 - 2 sg pixel) mean_k of the variance of the map of k

The source gives the appearance, and the target's keypoints the positions of all that differs. The
source's keypoints are not used, and no gradient is stopped.

Departures, with their reasons:

- A keypoint is the mean of a softmax over all cells of its map. The authors' code averages the
  logits over each axis and takes a softmax along the other; the network ``paper`` is read so.
- The layers f_l are those of fixed random filters unless the user provides weights of VGG-16, so
  that nothing is downloaded. The authors use a VGG-16 trained for colourisation.
- Pixels and layers are divided by their change between frames and not by the running mean of
  their own error (:mod:`..perceptual`).
- Pairs are frames of a recording, not warps of one image, so no border has to be masked.
- The decoder sees the whole map (:mod:`keypoint_perception.model.decoder`), with fewer channels.
- ``both_ways``, ``still_weight`` and the term ``spread`` are those of temporal transport, for the
  same reasons.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.learning.loss_terms import concentration
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.learning.partner_views import swap
from keypoint_perception.learning.perceptual import ComparisonConfig, make_comparison
from keypoint_perception.learning.reconstruction import (
    explained_motion,
    motion_weight,
    pixel_error,
    ReconstructionConfig,
)
from keypoint_perception.model.decoder import MapDecoder
from keypoint_perception.model.heatmaps import gaussian_maps
from keypoint_perception.model.network import make_features, NetworkConfig
import torch
from torch import nn, Tensor


@dataclass(frozen=True)
class ConditionalGenerationConfig(ComparisonConfig, ReconstructionConfig):
    pass


class ConditionalGeneration(nn.Module):
    """Generation of a frame from the appearance of another and its own keypoints."""

    assumes_still_camera = True
    Config = ConditionalGenerationConfig
    weights = {'pixel': 1.0, 'perceptual': 1.0, 'spread': 0.4}  # noqa: RUF012 a constant

    def __init__(
        self,
        config: ConditionalGenerationConfig,
        network: NetworkConfig,
        statistics: DatasetStatistics,
    ) -> None:
        super().__init__()
        self.config = config
        self.change = statistics.change
        self.one_way = not config.both_ways
        self.features = make_features(network)
        self.decode = MapDecoder(
            self.features.channels + network.keypoints,
            3,
            stride=self.features.stride,
            width=network.width,
            norm=network.norm,
        )
        self.compare = make_comparison(config)

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,); the first frames are the sources."""
        count = len(batch.image0) if self.one_way else len(batch.images)
        points = swap(batch.points)[:count]
        bumps = gaussian_maps(points, *batch.hw, self.config.sigma * batch.half_side)
        reconstructed = self.render(batch.images[:count], bumps)
        weight = motion_weight(batch.image0, batch.image1, self.config.still_weight)
        weight = torch.cat([weight, weight])[:count]
        goal = swap(batch.images)[:count]
        spread = swap(concentration(batch.maps, batch.points, batch.half_side))[:count]
        pixel = pixel_error(reconstructed, goal, weight, self.change)
        perceptual = torch.zeros_like(pixel)
        if self.compare is not None:
            perceptual = self.compare(reconstructed, batch.images, weight)
        pixel, perceptual, spread = (
            both.view(-1, len(batch.image0)).mean(dim=0) for both in (pixel, perceptual, spread)
        )
        return {
            'pixel': pixel,
            'perceptual': perceptual,
            'spread': explained_motion(pixel) * spread,
        }

    def reconstruct(self, batch: PairBatch) -> Tensor:
        """Return the second frames, reconstructed from the first ones, (B, 3, H, W)."""
        return self.render(batch.image0, batch.bumps(self.config.sigma).chunk(2)[1])

    def render(self, images: Tensor, bumps: Tensor) -> Tensor:
        """
        Return the frames that the keypoints were found in, (B, 3, H, W).

        :param images: the other frames, (B, 3, H, W)
        :param bumps: at the keypoints, (B, K, h, w)
        """
        features = self.features(images)
        reconstructed: Tensor = self.decode(torch.cat([features, bumps.to(features.dtype)], dim=1))
        return reconstructed
