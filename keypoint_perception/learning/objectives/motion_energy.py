"""
Keypoints must predict where a frame differs in structure from a later one.

Sun, Ryou, Goldshmid, Weissbourd, Dabiri, Anderson, Kennedy, Yue, Perona: Self-supervised keypoint
discovery in behavioral videos, 2022, https://arxiv.org/abs/2112.05121 ("BKinD"). For two frames x
and y, the target is the contrast and structure term of SSIM, under a Gaussian window of 11 px::

    energy = blur(1 - (2 cov(x, y) + c) / (var(x) + var(y) + c)),  c = 0.03^2, colours in [0, 1]
    pixel = |decode(Phi(x), bumps of mu(x) and mu(y) at 3 widths) - energy|^2 / mean energy^2
    turn = e mean_k 1 - exp(-|R sg mu_k(y) - mu_k(R y)|^2 / (4 t^2)),  R one to three quarter turns
    separation = mean_{i != j} exp(-|mu_i - mu_j|^2 / (2 s^2)),  of mu(x), mu(y) and mu(R y)
    spread = e mean_k of the variance of the map of k, half image sides squared
    e = max(0, 1 - 4 sg pixel)

Static texture has no energy, and changing light little: means are not compared. ``turn`` is the
authors' squared difference of two bumps of standard deviation t, that of R mu(y), whose gradient
is stopped, and that of mu(R y), integrated over the plane in closed form and divided by 2 pi t^2.
It counts as far as keypoints explain the energy (e), and so does ``spread``; theirs starts with
the fourth epoch. From the start, static points would satisfy both, and Phi(x) alone reduces the
error to about a quarter: it shows the objects that will have moved.

Departures, with their reasons:

- Phi is a local feature net of this objective, as in the others, and not the layers of a ResNet
  with ImageNet weights that keypoints are read from: nothing is downloaded.
- The features of frames are not compared in another network (theirs: VGG-16), for the same reason.
- The error is divided by the mean of the energy squared over the run so far: 1 means no better
  than predicting that nothing moves. Theirs are constants, meant as running means.
- The bumps are drawn at the maps' resolution at all widths, of 0.3, 0.15 and 0.075 half sides
  instead of 0.3, 0.1 and 0.03, which is less than a cell.
- The term ``spread`` asks for maps with one peak, because the robot reads a window around it and
  not the mean of the map; 0 is the paper's.
- Each step draws one rotation instead of all three: the mean is the same at a third of the cost.
- The tolerance t is 0.1 half sides instead of 0.03. A gradient that vanishes beyond two cells
  needs the authors' days of training.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.learning.loss_terms import concentration, separation
from keypoint_perception.learning.pair_batch import DatasetStatistics, pair_mean, PairBatch
from keypoint_perception.model.decoder import MapDecoder
from keypoint_perception.model.network import make_features, NetworkConfig
from keypoint_perception.settings import setting, Settings
import torch
from torch import nn, Tensor
from torch.nn import functional

WINDOW = 11
WINDOW_SIGMA_PX = 1.5
BLUR_SIGMA_PX = 1.0
# SSIM's second constant, for colours in [0, 1].
CONTRAST_FLOOR = 0.03**2
# Standard deviations of the bumps that the decoder sees, half image sides.
WIDTHS = (0.3, 0.15, 0.075)
# One over the error below which keypoints explain something.
UNEXPLAINED = 4.0
# Share of the mean energy that a step replaces.
PACE = 0.01


@dataclass(frozen=True)
class MotionEnergyConfig(Settings):
    """Settings of motion energy."""

    tolerance: float = setting(
        0.1,
        above=0,
        high=1,
        help='Error of a turned point beyond which its pull weakens (t), half image sides.',
    )
    apart: float = setting(
        0.08,
        above=0,
        high=1,
        help='Distance of the separation (s), half image sides; 0.08 in the paper.',
    )


class MotionEnergy(nn.Module):
    """A decoder from keypoints of two frames to where they differ in structure."""

    mean_energy: Tensor

    assumes_still_camera = True
    Config = MotionEnergyConfig
    weights = {  # noqa: RUF012 a constant, overridden by configuration
        'pixel': 1.0,
        'turn': 0.3,
        'separation': 0.3,
        'spread': 0.2,
    }

    def __init__(
        self, config: MotionEnergyConfig, network: NetworkConfig, statistics: DatasetStatistics
    ) -> None:
        super().__init__()
        self.config = config
        self.features = make_features(network)
        bumps = 2 * len(WIDTHS) * network.keypoints
        self.decode = MapDecoder(
            self.features.channels + bumps,
            1,
            stride=self.features.stride,
            width=network.width,
            norm=network.norm,
        )
        # of the energy squared, over the run so far; zero before the first step
        self.register_buffer('mean_energy', torch.zeros(()))

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        """Return the per-sample terms, each (B,)."""
        energy = structural_change(batch.image0, batch.image1)
        error = (self.predict(batch) - energy).square().mean(dim=(1, 2, 3))
        pixel = error / self._scale(energy)
        turns = int(torch.randint(1, 4, ()))
        points0, points1 = batch.points.chunk(2)
        image = torch.rot90(batch.image1, turns, (2, 3))
        turned = batch.network.points(batch.network.logits(image))
        expected = turn_points(points1.detach(), batch.hw, turns)
        away = (turned - expected).square().sum(dim=-1) / batch.half_side**2
        missed = (1 - torch.exp(-away / (4 * self.config.tolerance**2))).mean(dim=-1)
        apart = self.config.apart * batch.half_side
        near = [separation(points, apart) for points in (points0, points1, turned)]
        spread = pair_mean(concentration(batch.maps, batch.points, batch.half_side))
        explained = (1 - UNEXPLAINED * pixel.detach()).clamp(min=0)
        return {
            'pixel': pixel,
            'turn': explained * missed,
            'separation': torch.stack(near).mean(dim=0),
            'spread': explained * spread,
        }

    def reconstruct(self, batch: PairBatch) -> Tensor:
        """Return where the frames are expected to differ, white on black, (B, 3, H, W)."""
        return (self.predict(batch) - 1).expand(-1, 3, -1, -1)

    def predict(self, batch: PairBatch) -> Tensor:
        """Return where the frames are expected to differ, (B, 1, H, W)."""
        seen = [self.features(batch.image0).float()]
        for width in WIDTHS:
            seen += batch.bumps(width * 2**0.5).chunk(2)
        energy: Tensor = self.decode(torch.cat(seen, dim=1))
        return energy

    @torch.no_grad()
    def _scale(self, energy: Tensor) -> Tensor:
        """Return the mean energy squared so far, and count this batch in."""
        now = energy.square().mean()
        before = torch.where(self.mean_energy > 0, self.mean_energy, now).clamp(min=1e-6)
        if self.training:
            self.mean_energy.copy_(before.lerp(now, PACE))
        return before


@torch.no_grad()
def structural_change(image0: Tensor, image1: Tensor) -> Tensor:
    """
    Return where two images differ in contrast and structure, (B, 3, H, W) -> (B, 1, H, W).

    One minus SSIM's term of contrast and structure, the mean over the colours, blurred: 0 where
    the images are the same or differ by a constant, to 2 where one is the negative of the other.
    The images are in [-1, 1].
    """
    colours = image0.shape[1]
    x, y = (
        functional.pad((i + 1) / 2, (WINDOW - 1,) * 4, mode='replicate') for i in (image0, image1)
    )
    means = _blur(torch.cat([x, y, x * x + y * y, x * y], dim=1), WINDOW_SIGMA_PX)
    mean_x, mean_y, squares, products = means.split(colours, dim=1)
    covariance = products - mean_x * mean_y
    variances = squares - mean_x.square() - mean_y.square()
    alike = (2 * covariance + CONTRAST_FLOOR) / (variances + CONTRAST_FLOOR)
    return _blur(1 - alike.mean(dim=1, keepdim=True), BLUR_SIGMA_PX)


def turn_points(points: Tensor, hw: tuple[int, int], turns: int) -> Tensor:
    """
    Return where points lie after ``torch.rot90``, quarter turns to the left.

    :param points: (B, K, 2) cells
    :param hw: height and width before the turn, cells
    """
    height, width = hw
    for _ in range(turns):
        x, y = points.unbind(-1)
        points = torch.stack([y, width - 1 - x], dim=-1)
        height, width = width, height
    return points


def _blur(maps: Tensor, sigma: float) -> Tensor:
    """Return maps under a Gaussian window, without the rim where it does not fit."""
    channels = maps.shape[1]
    at = torch.arange(WINDOW, dtype=torch.float32, device=maps.device) - WINDOW // 2
    weights = torch.exp(-at.square() / (2 * sigma**2))
    weights = (weights / weights.sum()).repeat(channels, 1, 1, 1)
    with torch.autocast(maps.device.type, enabled=False):
        maps = functional.conv2d(maps.float(), weights.transpose(2, 3), groups=channels)
        return functional.conv2d(maps, weights, groups=channels)
