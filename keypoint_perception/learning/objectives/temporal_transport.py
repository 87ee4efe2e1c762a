"""
Reconstruct a frame from another by transporting features to the keypoints.

Kulkarni, Gupta, Ionescu, Borgeaud, Reynolds, Zisserman, Mnih: Unsupervised learning of object
keypoints for perception and control, 2019, https://arxiv.org/abs/1906.11883 ("Transporter");
WO2020225247, claims 1 to 11. With the feature net Phi, the keypoints mu of the keypoint net, the
bumps H_k(x) = exp(-|u - mu_k(x)|^2 / sigma^2), a source frame x_s and a target frame x_t::

    S = 1 - prod_k (1 - H_k(x_s))        T = 1 - prod_k (1 - H_k(x_t))
    F = (1 - sg S) (1 - T) sg Phi(x_s) + T Phi(x_t)
    pixel = w |refine(F) - x_t|^2 / change
    w = w0 + (1 - w0) d / (d + noise), d = |x_t - x_s| blurred
    spread = max(0, 1 - 2 sg pixel) mean_k of the variance of the map of k

The source's features are removed at the keypoints of both frames and the target's are inserted at
the keypoints of the target, so only keypoints on what moved can lower the error. ``sg`` stops the
gradient: otherwise the source branch could erase what is hard to predict instead of tracking it.

Departures, with their reasons:

- A keypoint is the mean of a softmax over all cells of its map. The authors' code averages the
  logits over each axis and takes a softmax along the other; the network ``paper`` is read so.
- S and T are unions. The authors' code pastes one keypoint after another, which depends on their
  order; other public code adds the bumps, which is not bounded. The claims fix neither.
- The error is divided by ``change``, the mean squared difference between the frames of a pair
  (:mod:`..reconstruction`).
- Each pair is used both ways (``both_ways``): the second reconstruction needs no further pass of
  the keypoint and feature nets, which are most of the cost.
- Pixels that are equal in both frames weigh ``still_weight``, the others 1. At 0.3 instead of 1,
  small moving objects are found sooner; 1 is the paper's error.
- With a camera that moves, S and Phi(x_s) are those in the target's view
  (:mod:`..data.registration`); what the source does not show is zero there, and its error has no
  weight.
- A second term, ``spread``, is the variance of each map about its point, in half image sides
  squared. The robot reads a window around the peak and not the mean of the map; the two agree only
  for maps with one peak, which the pixel error does not require. It counts as far as keypoints
  explain the motion.

Where frames are not registered (``camera`` set to still, or frames that no homography fits), all
that the camera's own motion changes has to be transported too. Pairs then have to be close in
time: on a panning recording, 0.96 of the motion of the labelled points was explained with
``max_gap_s: 0.4``, and 0.35 with 2 s, which is set by default.
"""

from __future__ import annotations

from keypoint_perception.learning.loss_terms import concentration
from keypoint_perception.learning.pair_batch import DatasetStatistics, PairBatch
from keypoint_perception.learning.reconstruction import (
    explained_motion,
    pair_weight,
    pixel_error,
    ReconstructionConfig,
)
from keypoint_perception.model.heatmaps import union
from keypoint_perception.model.network import make_features, make_refiner, NetworkConfig
import torch
from torch import nn, Tensor


class TemporalTransport(nn.Module):
    """Transport of the target's features to the target's keypoints."""

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
        covered = union(batch.bumps(self.config.sigma))
        covered0, covered1 = covered.chunk(2)
        source0, source1 = batch.partner(covered.detach()).chunk(2)
        spread0, spread1 = concentration(batch.maps, batch.points, batch.half_side).chunk(2)
        weight0, weight1 = pair_weight(batch, self.config.still_weight).chunk(2)
        if self.config.both_ways:
            features0, features1 = self.features(batch.images).chunk(2)
        else:
            with torch.no_grad():
                features0 = self.features(batch.image0)
            features1 = self.features(batch.image1)
            spread0 = spread1  # the first frames are not trained
        features = torch.cat([features0, features1]).detach()
        brought0, brought1 = batch.partner(features).chunk(2)
        forth = self.render(source1, covered1, brought1, features1)
        pixel = pixel_error(forth, batch.image1, weight1, self.change)
        if self.config.both_ways:
            back = self.render(source0, covered0, brought0, features0)
            pixel = (pixel + pixel_error(back, batch.image0, weight0, self.change)) / 2
        return {'pixel': pixel, 'spread': explained_motion(pixel) * (spread0 + spread1) / 2}

    def reconstruct(self, batch: PairBatch) -> Tensor:
        """Return the second frames, reconstructed from the first ones, (B, 3, H, W)."""
        covered, features = union(batch.bumps(self.config.sigma)), self.features(batch.images)
        source = batch.partner(covered)
        both = source, covered, batch.partner(features), features
        return self.render(*(part.chunk(2)[1] for part in both))

    def render(
        self, source: Tensor, target: Tensor, features_s: Tensor, features_t: Tensor
    ) -> Tensor:
        """Return the target reconstructed from what :func:`transport` takes, (B, 3, H, W)."""
        moved = transport(source.detach(), target, features_s.detach(), features_t)
        target_image: Tensor = self.refine(moved)
        return target_image


def transport(source: Tensor, target: Tensor, features_s: Tensor, features_t: Tensor) -> Tensor:
    """
    Return (1 - S)(1 - T) Phi(x_s) + T Phi(x_t), (B, c, h, w).

    :param source: S, the union of the source's bumps, (B, 1, h, w); ``target`` is T
    :param features_s: Phi(x_s), (B, c, h, w); ``features_t`` is Phi(x_t)
    """
    source, target = source.to(features_s.dtype), target.to(features_t.dtype)
    return (1 - source) * (1 - target) * features_s + target * features_t
