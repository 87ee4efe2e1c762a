"""
How much of a difference from the background noise explains, measured from the recording.

Sensors and compression change all pixels, and what is left of the camera's shake changes those of
contours. With d the difference of :mod:`.foreground` and g the slope of the background::

    noise(p) = CERTAIN sqrt(m(p)^2 + (s g(p))^2)

where m is what d usually is around p where nothing moves, and s how far contours usually move, px.
Both are quantiles of many frames, low enough to be of the background: a robot is before each place
for a part of the time only, and before a part of the contours.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.learning.data.foreground import difference
from keypoint_perception.learning.data.scenes import members
import torch
from torch import Tensor
from torch.nn import functional

# Differences beyond so many times the usual one are not noise: with a normal distribution, one
# pixel in two hundred exceeds it where colours have the same noise, and hardly any otherwise.
CERTAIN = 4.0
# Least and most usual difference, a third of a grey level, since frames are rounded, and eight:
# where everything differs by more, it is not by noise.
LEAST, MOST = 0.33 / 127.5, 8 / 127.5
# Quantile that is of the background, and the median of a half-normal distribution in its units.
QUANTILE, MEDIAN = 0.25, 1.75
# The usual difference at a place is at most so many times that of the image.
MOST_RATIO = 3.0
# Frames of a scene that its noise is measured on.
SCENE_FRAMES = 48
# Side of the surroundings of a place, px; least slope of a contour, 8 grey levels a pixel.
AROUND, CONTOUR = 9, 8 / 127.5


@dataclass(frozen=True)
class Noise:
    """
    The noise of a view.

    :param usual: m, (1, H, W) in units of [-1, 1]
    :param shake: s, px
    """

    usual: Tensor
    shake: float

    def explains(self, background: Tensor) -> Tensor:
        """Return the difference from backgrounds (B, 3, H, W) that is noise, (B, 1, H, W)."""
        return CERTAIN * (self.usual.square() + (self.shake * slope(background)).square()).sqrt()


def measure_noise(images: Tensor, background: Tensor) -> Noise:
    """
    Return the noise of frames of one view.

    :param images: in [-1, 1], (B, 3, H, W), like the background of each
    """
    found, steep = difference(images, background), _gradient(background)
    flat = steep <= steep.flatten().median()
    level = min(max(float(found[flat].median()), LEAST), MOST)
    place = functional.avg_pool2d(
        found, AROUND, stride=1, padding=AROUND // 2, count_include_pad=False
    )
    rank = max(1, round(QUANTILE * len(place)))
    place = place.kthvalue(rank, dim=0).values
    ratio = place / place.median().clamp(min=LEAST)
    contour = steep > max(CONTOUR, 2 * CERTAIN * level)
    shake = 0.0
    contour = contour.float().mean(dim=0) > 0.5  # (1, H, W)
    if contour.any():
        moved = (found.square() - level**2).clamp(min=0).sqrt() / steep.clamp(min=1e-6)
        usual = moved.median(dim=0).values[contour]
        shake = 1.5 * float(usual.kthvalue(max(1, round(QUANTILE * len(usual)))).values)
    return Noise(level * ratio.clamp(1, MOST_RATIO), shake)


def scene_noise(images: Tensor, background: Tensor, scene: Tensor) -> Tensor:
    """
    Return what noise explains in each frame, measured within its scene, (N, 1, H, W).

    :param images: in [-1, 1], (N, 3, H, W), like the background of each
    :param scene: scene of each frame, (N,) int
    """
    result = torch.empty_like(images[:, :1])
    for mine in members(scene):
        some = mine[:: max(1, len(mine) // SCENE_FRAMES)]
        noise = measure_noise(images[some], background[some])
        result[mine] = noise.explains(background[mine])
    return result


def slope(images: Tensor) -> Tensor:
    """Return the steepest change of brightness within a pixel of each, a pixel, (B, 1, H, W)."""
    return functional.max_pool2d(_gradient(images), 3, stride=1, padding=1)


def _gradient(images: Tensor) -> Tensor:
    along_y, along_x = torch.gradient(images.mean(dim=1, keepdim=True), dim=(2, 3))
    return (along_y.square() + along_x.square()).sqrt()
