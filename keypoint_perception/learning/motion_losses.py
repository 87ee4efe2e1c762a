"""
Whether keypoints stay on what they are on: as it moves, and as it is turned at random.

What is turned is the foreground alone, put on the unturned background of another pair::

    x' = b' + g(m) (g(x) - b')      b' a background, m the cut-out, g a random warp

Where the whole image is turned, the network can read the turn off the background, the floor's line
or the border, and turn a lattice with it that otherwise keeps its orientation in the image and
slides over the parts. On the background of its own clip it can know the clip by what rests there,
and learn by heart how things lie in that clip. Here nothing but the thing itself says where its
parts are. Pasting moved things on backgrounds is from Dwibedi et al. 2017,
https://arxiv.org/abs/1708.01642.
"""

from __future__ import annotations

from keypoint_perception.learning.data.foreground import cut_out
from keypoint_perception.learning.data.warps import Warp
from keypoint_perception.model.heatmaps import divergence
import torch
from torch import Tensor

# A keypoint of the turned image that is further off than this has lost the thing, and how far does
# not matter; half image sides squared.
LOST = 0.25
# Motion below a tenth of a cell is not asked to be followed exactly, cells squared.
LEAST_MOTION = 0.02


def turn_foreground(
    images: Tensor,
    background: Tensor,
    warp: Warp,
    *,
    onto: Tensor | None = None,
) -> Tensor:
    """
    Return the images with their foreground warped, in front of an unwarped background.

    :param images: in [-1, 1], (n, 3, H, W)
    :param background: what the foreground is cut out from, in [-1, 1], (n, 3, H, W)
    :param onto: what it is put on, like ``background``, which it is by default
    """
    if onto is None:
        onto = background
    moved = warp.images(torch.cat([images, cut_out(images, background)], dim=1))
    mask = moved[:, 3:] * warp.seen(images.shape[-2:])
    return onto + mask * (moved[:, :3] - onto)


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


def disagreement(points: Tensor, logits: Tensor, warp: Warp, width: float) -> Tensor:
    """
    Return how little a turned image's maps say where the image's keypoints are, (n, K) nats.

    The divergence of the map from a bump where the warp takes the keypoint, which is taken to be
    right. A keypoint that the turned image does not show counts as right.

    :param points: keypoints of the images, (n, K, 2) cells
    :param logits: maps of the turned images before the softmax, (n, K, h, w)
    :param width: standard deviation of the bump, cells
    """
    hw = logits.shape[-2:]
    with torch.no_grad():
        expected = warp.points(points, hw)
        shown = warp.inside(points, hw)
    return divergence(logits, expected, width) * shown


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
