"""
Learn features by finding the points of simulated scenes again.

Scenes have no keypoints in common, so no head can be learned for all of them. What every head
needs are features that tell the points of a scene apart, in any pose and in any clip. So each
visible point of a frame makes its own head from the feature at its place, f, and has to be found
with it in another frame of the scene, whose features are F::

    map(u) = softmax_u <A f + b, F(u)>,    loss = KL(bump at the point || map)

This is the dense descriptor of Florence et al. 2018, https://arxiv.org/abs/1806.08756, with exact
correspondences and a softmax over the image in place of sampled pairs. Each frame is warped by a
random affine map and has random colours.
"""

from __future__ import annotations

from collections.abc import Callable
import math

from keypoint_perception.frames.frame_store import FrameStore
from keypoint_perception.keypoints import network_to_cells
from keypoint_perception.learning.data.photometric import jitter_colours
from keypoint_perception.learning.data.warps import random_warp, Warp, WarpConfig
from keypoint_perception.learning.initial.initial_head import PointQueries, sample
from keypoint_perception.model.heatmaps import divergence
from keypoint_perception.model.layers import normalise
from keypoint_perception.model.network import Keypointer, NetworkConfig, UNet
import numpy as np
import torch
from torch import nn, Tensor

from pretraining.recordings import POINTS_NAME

WARPS = WarpConfig(angle=180.0, scale=0.4, shift=0.15, bend=0.0)
COLOUR = 0.3
# Standard deviation of a bump, cells.
WIDTH = 0.6
DECAY = 0.995


class Correspondence(nn.Module):
    """The features of a network, and what makes a head of them."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        network = Keypointer(config)
        assert isinstance(network.body, UNet)
        self.body, self.stride = network.body, network.stride
        self.queries = PointQueries(config.width)

    def forward(self, images: Tensor, points: Tensor) -> Tensor:
        """
        Return the mean error of points in the other image of their pair.

        :param images: first, then second images of the pairs, (2B, 3, H, W)
        :param points: x and y in px and whether each is visible, (2B, N, 3)
        """
        features = self.body.features(images)
        cells = network_to_cells(points[..., :2], self.stride)
        rows = self.queries(sample(features, cells))
        maps = torch.einsum('bnc,bchw->bnhw', rows, _swap(features))
        both = (points[..., 2] * _swap(points[..., 2])) > 0
        error = divergence(maps, _swap(cells), WIDTH)
        return (error * both).sum() / both.sum().clamp(min=1)


def _swap(values: Tensor) -> Tensor:
    return torch.cat(values.chunk(2)[::-1])


def learn(
    store: FrameStore,
    config: NetworkConfig,
    *,
    steps: int,
    pairs: int,
    rate: float,
    seed: int,
    report: Callable[[int, float], None],
) -> Correspondence:
    """
    Return the averaged weights after some steps.

    :param pairs: per step, each of two frames of one scene
    :param report: called with the step and its error
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    points = np.load(store.path / POINTS_NAME, mmap_mode='r')
    scenes = [np.flatnonzero(store.source == n) for n in range(len(store.sources))]
    learner, average = Correspondence(config), Correspondence(config)
    learner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(learner.parameters(), lr=rate, weight_decay=1e-4)
    for step in range(steps):
        warm, done = min(1.0, (step + 1) / 100), step / steps
        for group in optimizer.param_groups:
            group['lr'] = rate * warm * (0.02 + 0.98 * (1 + math.cos(math.pi * done)) / 2)
        chosen = [rng.choice(scenes[rng.integers(len(scenes))], 2) for _ in range(pairs)]
        frames = np.stack(chosen, axis=1).reshape(-1)
        images = normalise(torch.from_numpy(store.images[frames]))
        error = learner(*augmented(images, torch.from_numpy(points[frames])))
        optimizer.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            keep = min(DECAY, (1 + step) / (10 + step))
            mine, theirs = list(average.parameters()), list(learner.parameters())
            torch._foreach_lerp_(mine, theirs, 1 - keep)
        report(step + 1, float(error.detach()))
    return average


def augmented(images: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return images (B, 3, H, W) warped and in other colours, and their points (B, N, 3)."""
    hw = (images.shape[-2], images.shape[-1])
    warp: Warp = random_warp(len(images), hw, WARPS)
    moved = warp.points(points[..., :2], hw)
    seen = points[..., 2:] * warp.inside(points[..., :2], hw)[..., None]
    return jitter_colours(warp.images(images), COLOUR), torch.cat([moved, seen], dim=-1)
