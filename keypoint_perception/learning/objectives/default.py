"""
Temporal transport with terms that keep each keypoint on one part of what moves.

Frames are reconstructed as in Transporter (Kulkarni et al. 2019, https://arxiv.org/abs/1906.11883;
:mod:`.temporal_transport` has the equations), which requires that *some* keypoint lies where
something moved. With p_k the map of keypoint k, mu_k its mean, T the union of the bumps at a
frame's keypoints, M in [0, 1] the foreground (:mod:`..data.foreground`), b the background and v
the optical flow from the earlier frame of a pair to the later one, the terms are::

    A = sum_u M(u),  o_k = sg sum_u p_k(u) M(u),  e = max(0, 1 - 2 sg pixel)

    pixel      = w |refine(F) + b - x_t|^2 / change
    focus      = root mean square of that error over the maps' cells
    aside      = mean_k (1 - sum_u p_k(u) M(u)) A / (A + 1)
                                                        keypoints lie on the foreground
    uncovered  = sum_u M(u) (1 - T(u)) / (A + 1)        keypoints cover the foreground
    overlap    = sum_{j != k} sum_u p_j(u) p_k(u) / K   no two occupy the same cells
    spread     = e mean_k o_k max(0, variance of p_k about mu_k - 2 s^2)
                                                        each map has one peak
    peak       = mean_k o_k max(0, l_k(m_k) - mean of l_k beside m_k - 1 / (2 s^2))
                                                        that is wider than a cell
    flow       = mean_k o_k c_k 2 (sqrt(1 + q_k) - 1)   keypoints move with their object
    q_k        = |mu_k(later) - mu_k - sum_u p_k(u) v(u)|^2 / (|v|^2 + 0.02)
    turn       = e mean_k o_k min(0.25, |g mu_k(x') - mu_k(x)|^2)
                                                        rotate with it, x' the frame with the
                                                        foreground warped,
    agree      = e mean_k o_k KL(bump at sg mu_k(x), warped || p_k(x'))
                                                        and with certainty

- The gate o_k is how far a keypoint lies on the foreground: from the start, keypoints would settle
  on marks of the background, which are sharp, follow the flow and rotate with the image. In
  ``flow`` it is the smaller one of the two frames. The gate e is how far keypoints explain the
  motion (:func:`..reconstruction.explained_motion`). A / (A + 1) is near one unless a frame shows
  no foreground.
- In ``flow``, c_k is the share of p_k where the flow is known, and |v|^2 the mean square of the
  moving part of the frame, cells squared.
- ``focus`` weighs a small object that is missed, such as a ball, more than the same error spread
  over a large one, such as an arm; the mean does not distinguish the two.
- The background is added to the output of the refinement net, so that training does not start with
  some hundred steps of painting the static background (Minderer et al. 2019 decode the difference
  to a first frame).
- Without ``turn``, keypoints form a lattice around the moving object that keeps its orientation in
  the image and slides over the parts. They may still do so if the whole image is rotated, since
  the background shows the rotation. So only the foreground of the first frames is warped, around
  the image centre, and pasted on another pair's background
  (:func:`..motion_losses.warp_foreground`). It is not shifted: convolutions are equivariant to
  shifts, and the network would unlearn where the base of a robot is. Equivariance under random
  warps is from Thewlis et al. 2017. Warped frames also have other colours (``colour``), so that
  keypoints do not depend on the light.
- ``agree`` is ``turn`` for the maps, since the distance of two means has almost no gradient where
  a map is certain of the wrong end of a part.
- ``flow`` keeps keypoints on their part when it folds over another. It follows Zhang et al. 2018,
  with the mean over the map instead of the value at a point, for pairs up to a second apart; large
  errors count by their root, because flow is sometimes wrong.
- ``peak`` keeps keypoints from snapping to cell centres. All other terms make maps narrower, until
  the largest cell has all the mass, the mean cannot lie between cells, and no gradient is left.
  l_k are the logits and m_k is the largest cell; a bump of s = 0.6 cells has 1 / (2 s^2) there and
  a variance of 2 s^2, wherever its centre is. (Nibali et al. 2018,
  https://arxiv.org/abs/1801.07372, hold maps to a width by their variance, whose gradient is lost
  once a map has snapped.)

With a camera that moves, all of this is done in the registered frame: the background is a mosaic,
the source's features and bumps are those in the target's view, and the moving part of the flow is
what moves against the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.learning.data.foreground import foreground_map
from keypoint_perception.learning.data.photometric import ColourConfig, jitter_colours
from keypoint_perception.learning.data.warps import random_warp, WarpConfig
from keypoint_perception.learning.motion_losses import (
    background_share,
    flow_error,
    map_divergence,
    uncovered_share,
    warp_error,
    warp_foreground,
)
from keypoint_perception.learning.objectives.temporal_transport import transport
from keypoint_perception.learning.pair_batch import DatasetStatistics, pair_mean, PairBatch
from keypoint_perception.learning.partner_views import camera_flow
from keypoint_perception.learning.reconstruction import (
    BumpConfig,
    explained_motion,
    pair_weight,
)
from keypoint_perception.model.heatmaps import overlap, peak_curvature, union, variance
from keypoint_perception.model.layers import map_size
from keypoint_perception.model.network import make_features, make_refiner, NetworkConfig
from keypoint_perception.settings import setting
import torch
from torch import nn, Tensor
from torch.nn import functional

# Standard deviation of the narrowest bump that a map may have, cells.
NARROWEST = 0.6


@dataclass(frozen=True)
class DefaultConfig(ColourConfig, BumpConfig):
    """Settings of the default objective."""

    angle: float = setting(
        180.0, low=0, high=180, help='Largest rotation of `turn` and `agree`, degrees.'
    )
    swap_backgrounds: bool = setting(
        True, help='Put the turned foreground on the background of another pair.'
    )


class Default(nn.Module):
    """Temporal transport with the terms that measurably help."""

    Config = DefaultConfig
    weights = {  # noqa: RUF012 a constant, overridden by configuration
        'pixel': 0.5,
        'focus': 0.5,
        'spread': 0.4,
        'peak': 0.02,
        'aside': 0.3,
        'uncovered': 0.3,
        'overlap': 0.03,
        'flow': 0.25,
        'turn': 1.0,
        'agree': 0.2,
    }
    needs = {'background': None, 'registration': None, 'flow': 'flow'}  # noqa: RUF012

    def __init__(
        self, config: DefaultConfig, network: NetworkConfig, statistics: DatasetStatistics
    ) -> None:
        super().__init__()
        self.config = config
        self.change = statistics.change
        self.used = {name for name, weight in self.weights.items() if weight}
        self.warps = WarpConfig(angle=config.angle, scale=0.2, shift=0.0, bend=0.0)
        self.features = make_features(network)
        self.refine = make_refiner(network)
        for parameter in self.refine.last.parameters():
            nn.init.zeros_(parameter)  # the first output is the background

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,): the means over the two frames of a pair."""
        covered = union(batch.bumps(self.config.sigma))
        pixel, focus = self._reconstruct(batch)
        background, noise = batch.extra['background'], batch.extra['noise']
        foreground = foreground_map(batch.images, background, noise, batch.hw)
        on = torch.einsum('bkhw,bhw->bk', batch.maps, foreground)  # (2B, K)
        settled = on.detach()
        explained = explained_motion(pixel)
        wide = (variance(batch.maps, batch.points) - 2 * NARROWEST**2).clamp(min=0)
        spread = wide / batch.half_side**2
        steep = (peak_curvature(batch.logits) - 1 / (2 * NARROWEST**2)).clamp(min=0)
        terms = {
            'pixel': pixel,
            'focus': focus,
            'spread': explained * pair_mean((settled * spread).mean(dim=1)),
            'peak': pair_mean((settled * steep).mean(dim=1)),
            'aside': pair_mean(background_share(on, foreground)),
            'uncovered': pair_mean(uncovered_share(covered, foreground)),
            'overlap': pair_mean(overlap(batch.maps)),
        } | dict.fromkeys(('flow', 'turn', 'agree'), torch.zeros_like(pixel))
        if 'flow' in self.used:
            both = settled.unflatten(0, (2, -1)).amin(dim=0)
            terms['flow'] = (both * self._flow(batch)).mean(dim=1)
        if self.used & {'turn', 'agree'}:
            share = explained[:, None] * settled[: len(pixel)]
            for name, error in zip(('turn', 'agree'), self._turn(batch), strict=True):
                terms[name] = (share * error).mean(dim=1)
        return terms

    def reconstruct(self, batch: PairBatch) -> Tensor:
        """Return the second frames, reconstructed from the first ones, (B, 3, H, W)."""
        both = self.differences(batch) + batch.extra['background']
        return both.chunk(2)[1]

    def differences(self, batch: PairBatch) -> Tensor:
        """Return each frame's difference from its background, from the other, (2B, 3, H, W)."""
        features = self.features(batch.images)
        target = union(batch.bumps(self.config.sigma))
        # what the other frame does not show is erased
        source = batch.partner(target.detach(), outside=1.0)
        moved = transport(source, target, batch.partner(features.detach()), features)
        difference: Tensor = self.refine(moved)
        return difference

    def _reconstruct(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        made = self.differences(batch).float()
        weight = pair_weight(batch, self.config.still_weight)
        error = made + batch.extra['background'] - batch.images
        error = weight * error.square().mean(dim=1, keepdim=True)
        cells = functional.adaptive_avg_pool2d(error / self.change, batch.hw)
        mean = cells.mean(dim=(1, 2, 3))
        # the gradient of the root is unbounded at zero
        root = (cells.square().mean(dim=(1, 2, 3)) + 1e-6).sqrt()
        return pair_mean(mean), pair_mean(root)

    def _flow(self, batch: PairBatch) -> Tensor:
        flow = batch.extra['flow'] / batch.network.stride  # (B, 2, h, w) cells
        forward = batch.extra['forward'][:, None, None]
        (points0, points1), (maps0, maps1) = batch.points.chunk(2), batch.maps.chunk(2)
        earlier = torch.where(forward[..., None], maps0, maps1)
        moved = torch.where(forward, points1 - points0, points0 - points1)
        camera = None
        if batch.registration is not None:
            camera = camera_flow(batch.registration, batch.extra['forward'], batch.hw)
        return flow_error(earlier, moved, flow, camera)

    def _turn(self, batch: PairBatch) -> tuple[Tensor, Tensor]:
        images, count = batch.image0, len(batch.image0)
        background, noise = (batch.extra[name][:count] for name in ('background', 'noise'))
        warp = random_warp(count, map_size(images), self.warps, device=images.device)
        # onto the background of another pair; pairs are in random order
        onto = background.roll(1, dims=0) if self.config.swap_backgrounds else background
        turned = warp_foreground(images, background, noise, warp, onto=onto)
        logits = batch.network.logits(jitter_colours(turned, self.config.colour))
        points = batch.points[:count]
        error = warp_error(points, batch.network.points(logits), warp, map_size(logits))
        return error, map_divergence(points.detach(), logits, warp, NARROWEST)
