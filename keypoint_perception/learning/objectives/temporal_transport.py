"""
Rebuild a frame from another one by carrying features to where the keypoints are.

Kulkarni, Gupta, Ionescu, Borgeaud, Reynolds, Zisserman, Mnih: Unsupervised learning of object
keypoints for perception and control, 2019, https://arxiv.org/abs/1906.11883 ("Transporter");
WO2020225247, claims 1 to 11. With the feature net Phi, the keypoints mu of the keypoint net, the
bumps H_k(x) = exp(-|u - mu_k(x)|^2 / sigma^2), a source frame x_s and a target frame x_t::

    S = 1 - prod_k (1 - H_k(x_s))        T = 1 - prod_k (1 - H_k(x_t))
    F = (1 - sg S) (1 - T) sg Phi(x_s) + T Phi(x_t)
    pixel = w |refine(F) - x_t|^2 / change
    w = w0 + (1 - w0) d / (d + noise), d = |x_t - x_s| blurred

The source's features are put out at both frames' keypoints and the target's are put in at the
target's, so only keypoints that lie on what moved can lower the error. ``sg`` stops the gradient:
otherwise the source branch could erase what is hard to predict instead of tracking it.

Departures, each with its reason:

- S and T are unions. The authors' code pastes one keypoint after another, which depends on their
  order; other public codes add the bumps, which is not bounded. The claims speak of all keypoints
  at once and fix neither.
- The error is divided by ``change``, the mean squared difference of two frames of the recording:
  1 means no better than answering with the source. A rate, a clip and the weight of another term
  then mean the same on every recording.
- Each pair is used both ways (``both_ways``): the second reconstruction needs no further pass of
  the two nets, which are the larger part of the cost.
- Pixels that are alike in both frames count ``still_weight``, those that differ 1: most of a
  robot's picture stands still, and its details would take most of the gradient. At 0.3 instead of
  1 small movers are found sooner; 1 is the paper's error.
- A second term, ``spread``, is the variance of each map about its point, in half image sides
  squared. The robot reads a window round the peak and not the mean of the whole map; the two agree
  only for maps with one peak, which the pixel error alone does not ask for. It weighs in only as
  far as keypoints explain the motion, max(0, 1 - 2 sg pixel): asked for from the start it freezes
  points before they have found what moves, and an error of one half is had without any keypoint,
  by wiping out whatever might move.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.errors import ConfigError
from keypoint_perception.learning.terms import concentration
from keypoint_perception.learning.views import Facts, Views
from keypoint_perception.model.heatmaps import gaussian_maps, union
from keypoint_perception.model.network import make_features, make_refiner, NetworkConfig
import torch
from torch import nn, Tensor
from torch.nn import functional

# A pixel has moved where the frames differ, averaged over BLUR x BLUR pixels, by more than noise:
# six grey levels, in units of [-1, 1].
BLUR = 5
NOISE = 0.05


@dataclass(frozen=True)
class TemporalTransportConfig:
    """
    Settings of temporal transport.

    :param sigma: width of a bump in half image sides (the longer one); 0.1 is the paper's
    :param both_ways: rebuild each frame of a pair from the other
    :param still_weight: weight of pixels that do not change between the two frames, to 1 for
        those that do; 1 is the paper's plain error
    """

    sigma: float = 0.1
    both_ways: bool = True
    still_weight: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.sigma <= 1:
            msg = f'sigma: must be above 0 and at most 1, got {self.sigma}.'
            raise ConfigError(msg)
        if not 0 <= self.still_weight <= 1:
            msg = f'still_weight: must be between 0 and 1, got {self.still_weight}.'
            raise ConfigError(msg)


class TemporalTransport(nn.Module):
    """Transport of the target's features to the target's keypoints."""

    Config = TemporalTransportConfig
    weights = {'pixel': 1.0, 'spread': 0.4}  # noqa: RUF012 a constant, overridden by configuration

    def __init__(
        self, config: TemporalTransportConfig, network: NetworkConfig, facts: Facts
    ) -> None:
        """Make the parts that are not exported: feature net and refinement net."""
        super().__init__()
        self.config = config
        self.change = facts.change
        self.one_way = not config.both_ways
        self.features = make_features(network)
        self.refine = make_refiner(network)

    def forward(self, views: Views) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,); the first frames are the sources."""
        image0, image1 = views.image0, views.image1
        height, width = views.logits.shape[-2:]
        sigma = self.config.sigma * views.half_side
        covered0, covered1 = union(gaussian_maps(views.points, height, width, sigma)).chunk(2)
        spread = concentration(views.maps, views.points, views.half_side)
        spread0, spread1 = spread.chunk(2)
        weight = self._weight(image0, image1)
        if self.config.both_ways:
            features0, features1 = self.features(views.images).chunk(2)
            forth = self._pixel(covered0, covered1, features0, features1, image1, weight)
            back = self._pixel(covered1, covered0, features1, features0, image0, weight)
            pixel = (forth + back) / 2
        else:
            with torch.no_grad():
                features0 = self.features(image0)
            features1 = self.features(image1)
            pixel = self._pixel(covered0, covered1, features0, features1, image1, weight)
            spread0 = spread1  # what is only shown does not learn
        explained = (1 - 2 * pixel.detach()).clamp(min=0)
        return {'pixel': pixel, 'spread': explained * (spread0 + spread1) / 2}

    def reconstruct(
        self, source: Tensor, target: Tensor, features_s: Tensor, features_t: Tensor
    ) -> Tensor:
        """
        Return the rebuilt target, (B, 3, H, W).

        :param source: union of the source's bumps, (B, 1, h, w)
        :param target: union of the target's bumps, (B, 1, h, w)
        :param features_s: the source's features, (B, c, h, w)
        :param features_t: the target's features, (B, c, h, w)
        """
        return self.refine(transport(source.detach(), target, features_s.detach(), features_t))

    def _weight(self, image0: Tensor, image1: Tensor) -> Tensor:
        """Return the weight of each pixel, (B, 1, H, W): 1 where the frames differ."""
        difference = (image0 - image1).abs().mean(dim=1, keepdim=True)
        difference = functional.avg_pool2d(difference, BLUR, stride=1, padding=BLUR // 2)
        still = self.config.still_weight
        return still + (1 - still) * difference / (difference + NOISE)

    def _pixel(
        self,
        source: Tensor,
        target: Tensor,
        features_s: Tensor,
        features_t: Tensor,
        image: Tensor,
        weight: Tensor,
    ) -> Tensor:
        rebuilt = self.reconstruct(source, target, features_s, features_t)
        error = (rebuilt.float() - image).square()
        return (weight * error).mean(dim=(1, 2, 3)) / self.change


def transport(source: Tensor, target: Tensor, features_s: Tensor, features_t: Tensor) -> Tensor:
    """Return (1 - S)(1 - T) Phi(x_s) + T Phi(x_t), (B, c, h, w)."""
    source, target = source.to(features_s.dtype), target.to(features_t.dtype)
    return (1 - source) * (1 - target) * features_s + target * features_t
