"""
Temporal transport, helped to find what moves, to stay on it and to tell its parts apart.

The frame is rebuilt as Transporter does it (Kulkarni et al. 2019,
https://arxiv.org/abs/1906.11883; :mod:`.temporal_transport` has the equations). Reconstruction by
itself says that *some* keypoint must be where something moved. What it leaves open is decided by
further terms, with p_k the map of keypoint k, mu_k its mean, T the union of the bumps at a frame's
keypoints, M in [0, 1] the foreground (where the frame differs from the median of its clip) and
v the optical flow until some 67 ms later::

    pixel      = w |refine(F) + median - x_t|^2 / change
    focus      = root mean square of that error over the maps' cells
    aside      = mean_k sum_u p_k(u) (1 - M(u))         keypoints lie on the foreground
    uncovered  = sum_u M(u) (1 - T(u)) / sum_u M(u)     the foreground has keypoints
    overlap    = sum_{j != k} sum_u p_j(u) p_k(u) / K   no two claim the same cells
    spread     = max(0, variance of p_k about mu_k - 2 s^2)
                                                        each map has one peak
    peak       = max(0, l_k(m_k) - mean of l_k beside m_k - 1 / (2 s^2))
                                                        that is wider than a cell
    flow       = |mu_k(next) - mu_k - sum_u p_k(u) v(u)|^2 / |v|^2
                                                        keypoints move with the thing they are on
    turn       = |g mu_k(g x) - mu_k(x)|^2              and turn with it

- ``focus`` weighs a small thing that is missed altogether, a ball, more than the same error spread
  over a large thing that is nearly right, an arm; the mean does not tell the two apart.
- The median is added to what the refinement net answers, so that learning does not begin with
  some hundred steps of painting the still background (Minderer et al. 2019 decode the difference
  to a first frame).
- Without ``flow`` keypoints form a lattice round the mover that keeps its orientation in the image
  and hops from part to part. Flow is that of Zhang et al. 2018 between near frames, with the mean
  over the map instead of the value at a point; the error is taken by its root where it is large,
  because flow is sometimes wrong.
- ``peak`` keeps keypoints from snapping to the centres of cells. All else makes maps ever
  narrower, until the largest cell has all the mass, the mean cannot lie between cells, and no
  gradient is left. l_k are the logits and m_k is the largest cell; a bump of s = 0.6 cells has
  1 / (2 s^2) there and a variance of 2 s^2, wherever its middle is. (Nibali et al. 2018,
  https://arxiv.org/abs/1801.07372, hold maps to a width by their variance; its gradient is lost
  once a map has snapped.)
- ``turn`` is equivariance under random warps (Thewlis et al. 2017), for a part of the batch.
- ``spread``, ``peak``, ``flow`` and ``turn`` ask each keypoint only as far as it lies on the
  foreground, sum_u p_k(u) M(u): asked for from the start, keypoints settle on marks of the
  background, which are sharp, move as the flow says and turn with the image.

A moving camera has no median and moves everything: use :mod:`.temporal_transport` there.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.objectives.temporal_transport import transport
from keypoint_perception.learning.reconstruction import (
    as_far_as_explained,
    motion_weight,
    ReconstructionConfig,
    swap,
)
from keypoint_perception.learning.views import Facts, Views
from keypoint_perception.learning.warps import random_warp, Warp, WarpConfig
from keypoint_perception.model.heatmaps import gaussian_maps, overlap, steepness, union, variance
from keypoint_perception.model.network import make_features, make_refiner, NetworkConfig
import torch
from torch import nn, Tensor
from torch.nn import functional

# A cell is foreground from a mean difference of about 1.5 grey levels on, and fully from 25 on.
FOREGROUND_NOISE = 0.05
FOREGROUND_FROM, FOREGROUND_TO = 0.2, 0.8
# A keypoint of the turned image that is further off than this has lost the thing, and how far does
# not matter; half image sides squared.
LOST = 0.25
# The narrowest bump that a map may have, cells.
NARROWEST = 0.6
# Motion below a tenth of a cell is not asked to be followed exactly, cells squared.
LEAST_MOTION = 0.02


@dataclass(frozen=True)
class DefaultConfig:
    """
    Settings of the default objective.

    :param sigma: width of a bump in half image sides
    :param still_weight: weight of pixels that do not change between the two frames
    :param angle: largest rotation of ``turn``, degrees
    """

    sigma: float = 0.1
    still_weight: float = 0.3
    angle: float = 180.0

    def __post_init__(self) -> None:
        ReconstructionConfig(sigma=self.sigma, still_weight=self.still_weight)
        if not 0 <= self.angle <= 180:
            msg = f'angle: must be between 0 and 180 degrees, got {self.angle}.'
            raise ConfigError(msg)


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
        'flow': 0.0,
        'turn': 1.0,
    }
    needs = {'background': None, 'flow': 'flow'}  # noqa: RUF012

    def __init__(self, config: DefaultConfig, network: NetworkConfig, facts: Facts) -> None:
        """Make the parts that are not exported: feature net and refinement net."""
        super().__init__()
        self.config = config
        self.change = facts.change
        self.used = {name for name, weight in self.weights.items() if weight}
        self.warps = WarpConfig(angle=config.angle, scale=0.2, shift=0.15, bend=0.0)
        self.features = make_features(network)
        self.refine = make_refiner(network)
        for parameter in self.refine.last.parameters():
            nn.init.zeros_(parameter)  # the first answer is the background itself

    def forward(self, views: Views) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,): the means over the two frames of a pair."""
        background = views.extra['background']
        height, width = views.logits.shape[-2:]
        bumps = gaussian_maps(views.points, height, width, self.config.sigma * views.half_side)
        covered = union(bumps)
        pixel, focus = self._rebuild(views, covered, background)
        foreground = find_foreground(views.images, background.repeat(2, 1, 1, 1), (height, width))
        on = share_on(views.maps, foreground)  # (2B, K)
        settled = on.detach()
        explained = as_far_as_explained(pixel)
        wide = (variance(views.maps, views.points) - 2 * NARROWEST**2).clamp(min=0)
        spread = wide / views.half_side**2
        steep = (steepness(views.logits) - 1 / (2 * NARROWEST**2)).clamp(min=0)
        terms = {
            'pixel': pixel,
            'focus': focus,
            'spread': explained * _pair_mean((settled * spread).mean(dim=1)),
            'peak': _pair_mean((settled * steep).mean(dim=1)),
            'aside': _pair_mean(off_foreground(on, foreground)),
            'uncovered': _pair_mean(uncovered(covered, foreground)),
            'overlap': _pair_mean(overlap(views.maps)),
            'flow': torch.zeros_like(pixel),
            'turn': torch.zeros_like(pixel),
        }
        if 'flow' in self.used:
            error = settled[: len(pixel) : 2] * self._flow(views)
            terms['flow'] = error.mean().expand_as(pixel)
        if 'turn' in self.used:
            error = explained[::2, None] * settled[: len(pixel) : 2] * self._turn(views)
            terms['turn'] = error.mean().expand_as(pixel)
        return terms

    def rebuild(self, views: Views) -> Tensor:
        """Return the second frames, rebuilt from the first ones, (B, 3, H, W)."""
        height, width = views.logits.shape[-2:]
        bumps = gaussian_maps(views.points, height, width, self.config.sigma * views.half_side)
        made = self.reconstruct(*union(bumps).chunk(2), *self.features(views.images).chunk(2))
        return made + views.extra['background']

    def reconstruct(
        self, source: Tensor, target: Tensor, features_s: Tensor, features_t: Tensor
    ) -> Tensor:
        """
        Return what distinguishes the rebuilt target from the background, (B, 3, H, W).

        :param source: union of the source's bumps, (B, 1, h, w)
        :param target: union of the target's bumps, (B, 1, h, w)
        :param features_s: the source's features, (B, c, h, w)
        :param features_t: the target's features, (B, c, h, w)
        """
        return self.refine(transport(source.detach(), target, features_s.detach(), features_t))

    def _rebuild(self, views: Views, covered: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(views.images)
        rebuilt = self.reconstruct(swap(covered), covered, swap(features), features).float()
        weight = motion_weight(views.image0, views.image1, self.config.still_weight)
        # what the first frames and the second frames have, (2, B, ...), share what the pair has
        error = rebuilt.unflatten(0, (2, -1)) + background - views.images.unflatten(0, (2, -1))
        error = (weight * error.square().mean(dim=2, keepdim=True)).flatten(0, 1)
        cells = functional.adaptive_avg_pool2d(error / self.change, covered.shape[-2:])
        mean = cells.mean(dim=(1, 2, 3))
        # the root's slope has no bound at zero
        root = (cells.square().mean(dim=(1, 2, 3)) + 1e-6).sqrt()
        return _pair_mean(mean), _pair_mean(root)

    def _flow(self, views: Views) -> Tensor:
        flow = views.extra['flow'] / views.network.stride  # (n, 2, h, w) cells
        here = slice(0, len(views.image0), 2)
        followed = views.network.points(views.network.logits(views.extra['next']))
        return follow_error(views.maps[here], followed - views.points[here], flow)

    def _turn(self, views: Views) -> Tensor:
        images = views.image0[::2]
        warp = random_warp(len(images), images.shape[-2:], self.warps, device=images.device)
        warped = views.network.points(views.network.logits(warp.images(images)))
        points = views.points[: len(views.image0) : 2]
        return turn_error(points, warped, warp, views.logits.shape[-2:])


def find_foreground(images: Tensor, background: Tensor, hw: tuple[int, int]) -> Tensor:
    """
    Return how surely each cell shows something in front of the background, (B, h, w) in [0, 1].

    :param images: in [-1, 1], (B, 3, H, W)
    :param background: in [-1, 1], (B, 3, H, W)
    :param hw: height and width of the maps, cells
    """
    difference = (images - background).abs().mean(dim=1, keepdim=True)
    difference = functional.adaptive_avg_pool2d(difference, hw)[:, 0]
    shown = difference / (difference + FOREGROUND_NOISE)
    return ((shown - FOREGROUND_FROM) / (FOREGROUND_TO - FOREGROUND_FROM)).clamp(0, 1)


def share_on(maps: Tensor, foreground: Tensor) -> Tensor:
    """
    Return the share of each map that lies on the foreground, (B, K) in [0, 1].

    :param maps: each summing to one, (B, K, h, w)
    :param foreground: (B, h, w)
    """
    return torch.einsum('bkhw,bhw->bk', maps, foreground)


def off_foreground(on: Tensor, foreground: Tensor) -> Tensor:
    """
    Return the mean share of the maps that lies on the background, (B,) in [0, 1].

    Nothing where nothing is in front: a frame without foreground asks nothing.

    :param on: of :func:`share_on`, (B, K)
    :param foreground: (B, h, w)
    """
    amount = foreground.sum(dim=(1, 2))
    return (1 - on.mean(dim=1)) * amount / (amount + 1)


def uncovered(covered: Tensor, foreground: Tensor) -> Tensor:
    """
    Return the share of the foreground that no bump covers, (B,) in [0, 1].

    :param covered: union of the bumps, (B, 1, h, w)
    :param foreground: (B, h, w)
    """
    amount = foreground.sum(dim=(1, 2))
    return (foreground * (1 - covered[:, 0])).sum(dim=(1, 2)) / (amount + 1)


def follow_error(maps: Tensor, moved: Tensor, flow: Tensor) -> Tensor:
    """
    Return how badly keypoints follow the flow, (n, K): 0 = exactly, about 1 = not at all.

    2 (sqrt(1 + q) - 1) with q the squared difference over the frame's own squared motion.

    :param maps: where the keypoints are, (n, K, h, w)
    :param moved: how far they moved, (n, K, 2) cells
    :param flow: how far the picture moved, (n, 2, h, w) cells; NaN where that is not known
    """
    known = flow.isfinite().all(dim=1)  # (n, h, w)
    flow = torch.where(known[:, None], flow, torch.zeros_like(flow))
    sure = torch.einsum('bkhw,bhw->bk', maps, known.to(maps.dtype))
    expected = torch.einsum('bkhw,bchw->bkc', maps, flow) / sure.clamp(min=0.05)[..., None]
    speed = flow.square().sum(dim=1)
    # the mean square of what moves: weighted by itself, so that the still part does not count
    motion = speed.square().sum(dim=(1, 2)) / speed.sum(dim=(1, 2)).clamp(min=1e-6)
    square = (moved - expected).square().sum(dim=-1) / (motion + LEAST_MOTION)[:, None]
    error = 2 * ((1 + square).sqrt() - 1)
    return error * sure.detach()


def turn_error(points: Tensor, warped: Tensor, warp: Warp, hw: tuple[int, int]) -> Tensor:
    """
    Return how badly keypoints turn with the image, (n, K): square distance in half image sides.

    A keypoint that the warped image does not show counts as right, one that is lost as
    :data:`LOST`: some hundred steps into a run most are lost, and their pull would be the largest.

    :param points: keypoints of the images, (n, K, 2) cells
    :param warped: keypoints of the warped images, (n, K, 2) cells
    :param hw: height and width of the maps, cells
    """
    square = (warp.back(warped, hw) - points).float().square().sum(dim=-1) / (max(hw) / 2) ** 2
    return square.clamp(max=LOST) * warp.inside(points.detach(), hw)


def _pair_mean(both: Tensor) -> Tensor:
    return both.unflatten(0, (2, -1)).mean(dim=0)
