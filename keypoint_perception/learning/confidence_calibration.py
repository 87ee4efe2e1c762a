"""
Confidence that means something: how often a keypoint that says so is right.

The mass of a map round its peak is near one for almost every keypoint of a trained network, right
or wrong. What "right" and "wrong" mean can be had without labels. A keypoint is right if the one
of a frame and the one of the frame slightly turned, enlarged and moved agree; it is wrong,
wherever it is put, if what it was on has been painted over with the still background. Keypoints in
front of that are asked where the foreground alone is turned: a camera that stands still never
shows a turned background, and what a network makes of one says nothing. Platt's logistic curve
(Platt 1999) through these answers turns the mass into a share of right ones; it is part of the
network, and hence of the exported graph.
"""

from __future__ import annotations

import logging

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.data.foreground import cut_out
from keypoint_perception.learning.data.scenes import medians, scene_of
from keypoint_perception.learning.data.warps import random_warp, WarpConfig
from keypoint_perception.learning.motion_losses import turn_foreground
from keypoint_perception.model.layers import normalise
from keypoint_perception.model.network import Keypointer, log_odds
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Two detections agree if they are nearer than this share of the image's diagonal: as near as
# evaluation asks of a right keypoint.
AGREE = 0.05
WARPS = WarpConfig(angle=20.0, scale=0.1, shift=0.1, bend=0.0)
ROUNDS = 4
# Fewer answers than this say nothing.
LEAST_ANSWERS = 50
# Radius that is painted over, as a share of the diagonal; the grey levels by which this must
# change the picture for something to be hidden; how much hidden keypoints count beside shown ones.
HIDE, CHANGED, HIDDEN_SHARE = 0.1, 8.0, 0.25


@torch.no_grad()
def calibrate(
    network: Keypointer, frames: Tensor, *, scene: Tensor | None = None, seed: int = 0
) -> float | None:
    """
    Fit the confidence of a network on frames of its recording.

    :param frames: spread over the recording, (N, H, W, 3) uint8
    :param scene: number of each frame's scene, (N,) int; one for all if None
    :return: the share of keypoints that were right, or None if too few could be asked
    """
    network.calibration.copy_(torch.tensor([1.0, 0.0]))
    found = network(frames).float()[..., :2]  # (N, K, 2)
    still = medians(frames, scene_of(frames, scene))
    doubts, right = _ask(network, frames, still, found, seed)
    if len(right) < LEAST_ANSWERS:
        return None
    hidden = _hide(network, frames, still, found)
    each = HIDDEN_SHARE * len(right) / max(1, len(hidden))
    slope, offset = fit_logistic(
        torch.cat([doubts, hidden]),
        torch.cat([right, torch.zeros_like(hidden)]),
        torch.cat([torch.ones_like(right), torch.full_like(hidden, each)]),
    )
    network.calibration.copy_(torch.tensor([slope, offset]))
    share = float(right.mean())
    log.info('Confidence: %.0f %% of keypoints agree with those of warped frames.', 100 * share)
    return share


def fit_logistic(
    values: Tensor, right: Tensor, weights: Tensor | None = None
) -> tuple[float, float]:
    """
    Return slope and offset of the curve sigmoid(slope * value + offset), by Newton's method.

    The targets are Platt's, which lie a little within 0 and 1, so that answers that are all right
    do not make certainty of it. The slope is not negative: more mass never means less sure.

    :param values: (n,)
    :param right: 0 or 1, (n,)
    :param weights: how much each counts, (n,); all the same if None
    """
    values, right = values.double(), right.double()
    weights = torch.ones_like(right) if weights is None else weights.double()
    positives, negatives = (weights * right).sum(), (weights * (1 - right)).sum()
    target = torch.where(right > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    columns = torch.stack([values, torch.ones_like(values)], dim=1)  # (n, 2)
    found = torch.zeros(2, dtype=torch.float64)
    for _ in range(30):
        chance = torch.sigmoid(columns @ found)
        slope = columns.T @ (weights * (target - chance)) - 1e-3 * found
        curvature = (columns * (weights * chance * (1 - chance))[:, None]).T @ columns
        step = torch.linalg.solve(curvature + 1e-3 * torch.eye(2, dtype=torch.float64), slope)
        found = found + step.clamp(-2, 2)
    if found[0] < 0:
        rate = ((weights * target).sum() / weights.sum()).clamp(1e-4, 1 - 1e-4)
        return 0.0, float(torch.logit(rate))
    return float(found[0]), float(found[1])


def _ask(
    network: Keypointer, frames: Tensor, still: Tensor, found: Tensor, seed: int
) -> tuple[Tensor, Tensor]:
    """
    Return the log odds of keypoints of warped frames, in logits, and whether they agree, (n,).

    :param still: the frames' backgrounds, (N, H, W, 3) uint8
    :param found: keypoints of the frames themselves, (N, K, 2) px
    """
    generator = torch.Generator().manual_seed(seed)
    hw = frames.shape[1:3]
    images = normalise(frames)
    background = normalise(still)
    in_front = _values_at(cut_out(images, background)[:, 0] > 0.5, found)  # (N, K)
    doubts, right = [], []
    for _ in range(ROUNDS):
        warp = random_warp(len(images), hw, WARPS, generator=generator, device=images.device)
        turned = _answer(network, turn_foreground(images, background, warp))
        warped = _answer(network, warp.images(images))
        answer = torch.where(in_front[..., None], turned, warped)
        distance = (warp.back(answer[..., :2], hw) - found).norm(dim=-1) / diagonal_px(*hw)
        # asked of the warped frames, which are the harder ones
        asked = warp.inside(found, hw)
        doubts.append(log_odds(answer[..., 2])[asked])
        right.append((distance < AGREE).float()[asked])
    return torch.cat(doubts).cpu(), torch.cat(right).cpu()


def _answer(network: Keypointer, images: Tensor) -> Tensor:
    """Return the keypoints of images in [-1, 1], (N, 3, H, W) -> (N, K, 3)."""
    levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return network(levels.permute(0, 2, 3, 1)).float()


def _values_at(images: Tensor, xy: Tensor) -> Tensor:
    """Return what images (N, H, W) hold at places (N, K, 2) px, rounded and held inside."""
    column, row = xy.round().long().unbind(dim=-1)
    frame = torch.arange(len(images), device=images.device)[:, None]
    height, width = images.shape[1:]
    return images[frame, row.clamp(0, height - 1), column.clamp(0, width - 1)]


def _hide(network: Keypointer, frames: Tensor, still: Tensor, found: Tensor) -> Tensor:
    """
    Return the log odds of keypoints whose surroundings are painted over, in logits, (n,).

    :param still: what to paint them over with, the frames' backgrounds, (N, H, W, 3) uint8
    :param found: keypoints of the frames, (N, K, 2) px
    """
    count, keypoints = found.shape[:2]
    doubts = [torch.zeros(0)]
    for turn in range(ROUNDS):
        # each frame hides one of its keypoints, another one in each round
        mine = (torch.arange(count, device=found.device) * ROUNDS + turn) % keypoints
        place = found[torch.arange(count, device=found.device), mine]  # (N, 2)
        inside = _disc(place, frames.shape[1:3])[..., None]
        painted = torch.where(inside, still, frames)
        change = (painted.float() - frames.float()).abs().mean(dim=-1).sum(dim=(1, 2))
        hidden = change / inside.sum(dim=(1, 2, 3)).clamp(min=1) > CHANGED
        answer = network(painted).float()[..., 2]
        doubts.append(log_odds(answer.gather(1, mine[:, None])[:, 0])[hidden].cpu())
    return torch.cat(doubts)


def _disc(centre: Tensor, hw: tuple[int, int]) -> Tensor:
    """Return which pixels lie round places, (N, 2) px -> (N, H, W)."""
    row = torch.arange(hw[0], device=centre.device)[:, None]
    column = torch.arange(hw[1], device=centre.device)
    u, v = centre[:, 0, None, None], centre[:, 1, None, None]
    return (column - u) ** 2 + (row - v) ** 2 < (HIDE * diagonal_px(*hw)) ** 2
