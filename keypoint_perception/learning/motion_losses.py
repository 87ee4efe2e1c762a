"""
Losses that keep keypoints on their part of an object, under motion and under random warps.

Only the foreground is warped, and pasted on the unwarped background of another pair::

    x' = b' + g(m) (g(x) - b')      b' a background, m the foreground mask, g a random warp;
                                    g(m) is 0 where the warp shows nothing of the image

If the whole image is warped, the network can infer the rotation from the background, a horizon or
the border, and rotate a lattice of keypoints with it that otherwise keeps its orientation in the
image and slides over the parts. On the background of its own episode, it can recognise the episode
by static objects and memorise the pose. Here only the object itself shows where its parts are.
Pasting objects on backgrounds is from Dwibedi et al. 2017, https://arxiv.org/abs/1708.01642.
"""

from __future__ import annotations

from keypoint_perception.learning.data.foreground import foreground_mask
from keypoint_perception.learning.data.warps import Warp
from keypoint_perception.model.heatmaps import divergence
from keypoint_perception.model.layers import map_size
import torch
from torch import Tensor

# Errors beyond this are clamped, half image sides squared: the object is lost, and the distance
# means nothing.
MOST_ERROR = 0.25
# Motion below a tenth of a cell need not be followed exactly, cells squared.
LEAST_MOTION = 0.02


def warp_foreground(
    images: Tensor, background: Tensor, noise: Tensor, warp: Warp, *, onto: Tensor | None = None
) -> Tensor:
    """
    Return the images with their foreground warped, in front of an unwarped background.

    :param images: in [-1, 1], (n, 3, H, W), like their backgrounds
    :param noise: what differs from the background by no more is not foreground, (n, 1, H, W)
    :param onto: backgrounds to paste the foreground on, ``background`` by default
    """
    onto = background if onto is None else onto
    moved = warp.images(torch.cat([images, foreground_mask(images, background, noise)], dim=1))
    mask = moved[:, 3:] * warp.seen(map_size(images))
    return onto + mask * (moved[:, :3] - onto)


def warp_error(points: Tensor, warped: Tensor, warp: Warp, hw: tuple[int, int]) -> Tensor:
    """
    Return the error of keypoints of warped images, (n, K): squared distance in half image sides.

    It is zero for keypoints that are not visible in the warped image, and at most
    :data:`MOST_ERROR`: early in a run most keypoints are lost and would dominate the gradient.

    :param points: keypoints of the images, (n, K, 2) cells; ``warped``: of the warped images
    :param hw: height and width of the maps, cells
    """
    square = (warp.back(warped, hw) - points).float().square().sum(dim=-1) / (max(hw) / 2) ** 2
    return square.clamp(max=MOST_ERROR) * warp.inside(points.detach(), hw)


def map_divergence(points: Tensor, logits: Tensor, warp: Warp, width: float) -> Tensor:
    """
    Return the divergence of a warped image's maps from bumps at the warped keypoints, (n, K) nats.

    The keypoints are taken to be correct. The divergence is zero for keypoints that are not
    visible in the warped image.

    :param points: keypoints of the unwarped images, (n, K, 2) cells
    :param logits: maps of the warped images before the softmax, (n, K, h, w)
    :param width: standard deviation of the bump, cells
    """
    hw = map_size(logits)
    with torch.no_grad():
        expected = warp.points(points, hw)
        visible = warp.inside(points, hw)
    return divergence(logits, expected, width) * visible


def flow_error(maps: Tensor, moved: Tensor, flow: Tensor, camera: Tensor | None = None) -> Tensor:
    """
    Return how badly keypoints follow the optical flow, (n, K): 0 = exactly, about 1 = not at all.

    c 2 (sqrt(1 + q) - 1) with c the share of a map where the flow is known, which gets no
    gradient, and q the squared difference from the mean flow there, divided by the mean squared
    motion of the frame's moving part plus :data:`LEAST_MOTION`.

    :param maps: of the keypoints, (n, K, h, w)
    :param moved: displacement of the keypoints, (n, K, 2) cells
    :param flow: (n, 2, h, w) cells; NaN where unknown
    :param camera: flow of what is at rest in the world, (n, 2, h, w) cells; None = zero. What
        moves against it is the moving part.
    """
    known = flow.isfinite().all(dim=1)  # (n, h, w)
    flow = torch.where(known[:, None], flow, torch.zeros_like(flow))
    known_share = torch.einsum('bkhw,bhw->bk', maps, known.to(maps.dtype))
    expected = torch.einsum('bkhw,bchw->bkc', maps, flow)
    expected = expected / known_share.clamp(min=0.05)[..., None]
    own = flow if camera is None else (flow - camera) * known[:, None]
    speed = own.square().sum(dim=1)
    # the mean square of the moving part: weighted by itself, so that the static part is left out
    motion = speed.square().sum(dim=(1, 2)) / speed.sum(dim=(1, 2)).clamp(min=1e-6)
    square = (moved - expected).square().sum(dim=-1) / (motion + LEAST_MOTION)[:, None]
    error = 2 * ((1 + square).sqrt() - 1)
    return error * known_share.detach()


def background_share(on_foreground: Tensor, foreground: Tensor) -> Tensor:
    """
    Return the mean share of the maps that lies on the background, (B,) in [0, 1].

    It is multiplied by A / (A + 1), A the sum of the foreground: zero for frames without any.

    :param on_foreground: share of each map that lies on the foreground, (B, K)
    :param foreground: (B, h, w)
    """
    amount = foreground.sum(dim=(1, 2))
    return (1 - on_foreground.mean(dim=1)) * amount / (amount + 1)


def uncovered_share(covered: Tensor, foreground: Tensor) -> Tensor:
    """
    Return the share of the foreground (B, h, w) that no bump covers, (B,) in [0, 1].

    It is divided by A + 1, A the sum of the foreground: near zero for frames with hardly any.

    :param covered: union of the bumps, (B, 1, h, w)
    """
    amount = foreground.sum(dim=(1, 2))
    return (foreground * (1 - covered[:, 0])).sum(dim=(1, 2)) / (amount + 1)
