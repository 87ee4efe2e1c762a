"""
The reconstruction error of objectives that reconstruct one frame from another.

It is divided by ``change``, the mean squared difference between the frames of a pair: 1 means no
better than predicting the source. Learning rate, gradient clipping and the weights of other terms
then mean the same on every recording.
"""

from __future__ import annotations

from dataclasses import dataclass

from keypoint_perception.learning.pair_batch import PairBatch
from keypoint_perception.learning.pixel_means import box_blur, colour_mean
from keypoint_perception.settings import setting, Settings
import torch
from torch import Tensor

# A pixel has moved if the frames differ, averaged over BLUR x BLUR pixels, by more than noise: six
# grey levels, in units of [-1, 1].
BLUR = 5
NOISE = 0.05


@dataclass(frozen=True)
class BumpConfig(Settings):
    """Settings of objectives that reconstruct frames from bumps at the keypoints."""

    sigma: float = setting(
        0.1, above=0, high=1, help='Width of a bump, half image sides (the longer one).'
    )
    still_weight: float = setting(
        0.3,
        low=0,
        high=1,
        help='Weight of pixels that do not change between the frames; 1 is the plain error.',
    )


@dataclass(frozen=True)
class ReconstructionConfig(BumpConfig):
    """Settings of objectives that reconstruct one frame of a pair from the other."""

    both_ways: bool = setting(True, help='Reconstruct each frame of a pair from the other.')


def motion_weight(image0: Tensor, image1: Tensor, still_weight: float) -> Tensor:
    """
    Return the weight of each pixel, (B, 1, H, W): 1 where the frames differ.

    w = w0 + (1 - w0) d / (d + noise), with d the blurred difference of the frames. Most of an
    image is static, and its details would dominate the gradient.

    :param image0: in [-1, 1], (B, 3, H, W), like ``image1``
    :param still_weight: w0, the weight where they do not differ
    """
    difference = box_blur(colour_mean((image0 - image1).abs()), BLUR)
    return still_weight + (1 - still_weight) * difference / (difference + NOISE)


def pair_weight(batch: PairBatch, still_weight: float) -> Tensor:
    """
    Return the weight of each pixel of both frames of each pair, (2B, 1, H, W).

    With a camera that moves, frames are compared with their partner in their own view, and pixels
    that the partner does not show weigh nothing.
    """
    if batch.registration is None:
        weight = motion_weight(batch.image0, batch.image1, still_weight)
        return torch.cat([weight, weight])
    weight = motion_weight(batch.images, batch.partner(batch.images), still_weight)
    return weight * batch.seen


def pixel_error(reconstructed: Tensor, image: Tensor, weight: Tensor, change: float) -> Tensor:
    """
    Return the weighted mean squared error in units of the recording's change, (B,).

    :param image: the original, (B, 3, H, W)
    :param weight: of :func:`motion_weight`, (B, 1, H, W)
    """
    error = (reconstructed.float() - image).square()
    return (weight * error).mean(dim=(1, 2, 3)) / change


def explained_motion(pixel: Tensor) -> Tensor:
    """
    Return how much of the motion the keypoints explain, max(0, 1 - 2 sg pixel), (B,) in [0, 1].

    Terms that regularise the keypoints are multiplied by it: from the start, they would freeze
    keypoints before those have found what moves. An error of one half is reached without any
    keypoint, by erasing everything that may move.
    """
    return (1 - 2 * pixel.detach()).clamp(min=0)
