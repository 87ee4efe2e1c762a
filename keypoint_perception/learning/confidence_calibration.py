"""
Calibrate the confidence to the probability that a keypoint is right.

The mass of a heatmap around its peak is close to one for almost every keypoint of a trained
network, right or not. Right and wrong detections can be generated without labels. A keypoint is
right if its detections in a frame and in a slightly rotated, scaled and shifted copy agree. It is
wrong, wherever it is detected, if its surroundings are painted over with the background. For
keypoints on the foreground, only the foreground is warped: a static camera never shows a rotated
background, on which the network's output is meaningless. Platt's logistic curve
(Platt 1999), fitted to these samples, maps the mass to the share of correct keypoints; it is part
of the network, and hence of the exported graph.
"""

from __future__ import annotations

import logging

from keypoint_perception.keypoints import diagonal_px
from keypoint_perception.learning.data.foreground import foreground_mask
from keypoint_perception.learning.data.noise import scene_noise
from keypoint_perception.learning.data.scenes import CameraMotion, medians
from keypoint_perception.learning.data.warps import random_warp, WarpConfig
from keypoint_perception.learning.motion_losses import warp_foreground
from keypoint_perception.model.layers import map_size, normalise
from keypoint_perception.model.network import Keypointer, log_odds
import torch
from torch import Tensor

log = logging.getLogger('keypoint_perception')

# Two detections agree within this share of the image diagonal, the tolerance of evaluation.
TOLERANCE = 0.05
WARPS = WarpConfig(angle=20.0, scale=0.1, shift=0.1, bend=0.0)
ROUNDS = 4
# Fewer samples are too few to fit a curve.
LEAST_SAMPLES = 50
# Radius that is painted over, as a share of the diagonal; mean change in grey levels from which a
# keypoint counts as occluded; weight of all occluded samples relative to the others.
RADIUS, LEAST_CHANGE, OCCLUDED_SHARE = 0.1, 8.0, 0.25


@torch.no_grad()
def calibrate(
    network: Keypointer,
    frames: Tensor,
    scene: Tensor,
    seed: int = 0,
    motion: CameraMotion | None = None,
) -> float | None:
    """
    Calibrate the confidence of a network on frames of its recording.

    :param frames: spread over the recording, (N, H, W, 3) uint8
    :param scene: scene of each frame, (N,) int
    :param motion: of the camera, None if it stands still
    :return: the share of correct keypoints, or None if there are too few samples
    """
    network.calibration.copy_(torch.tensor([1.0, 0.0]))
    found = network(frames).float()[..., :2]  # (N, K, 2)
    if motion is None:
        background = medians(frames, scene)
        noise = scene_noise(normalise(frames), normalise(background), scene)
    else:
        background = levels(motion.background).to(frames.device)
        noise = motion.noise.to(frames.device)
    logits, correct = warped_samples(network, frames, background, noise, found, seed)
    if len(correct) < LEAST_SAMPLES:
        return None
    occluded = occluded_samples(network, frames, background, found)
    weight = OCCLUDED_SHARE * len(correct) / max(1, len(occluded))
    slope, offset = fit_logistic(
        torch.cat([logits, occluded]),
        torch.cat([correct, torch.zeros_like(occluded)]),
        torch.cat([torch.ones_like(correct), torch.full_like(occluded, weight)]),
    )
    network.calibration.copy_(torch.tensor([slope, offset]))
    share = float(correct.mean())
    log.info('Confidence: %.0f %% of keypoints agree with those of warped frames.', 100 * share)
    return share


def fit_logistic(
    values: Tensor, correct: Tensor, weights: Tensor | None = None
) -> tuple[float, float]:
    """
    Return slope and offset of the curve sigmoid(slope * value + offset), by Newton's method.

    The targets are Platt's, slightly inside 0 and 1, so that samples that are all correct do not
    give certainty. The slope is not negative: more mass never means less confidence.

    :param values: (n,)
    :param correct: 0 or 1, (n,)
    :param weights: of the samples, (n,); all equal if None
    """
    values, correct = values.double(), correct.double()
    weights = torch.ones_like(correct) if weights is None else weights.double()
    positives, negatives = (weights * correct).sum(), (weights * (1 - correct)).sum()
    target = torch.where(correct > 0.5, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    columns = torch.stack([values, torch.ones_like(values)], dim=1)  # (n, 2)
    found = torch.zeros(2, dtype=torch.float64)
    for _ in range(30):
        predicted = torch.sigmoid(columns @ found)
        gradient = columns.T @ (weights * (target - predicted)) - 1e-3 * found
        curvature = (columns * (weights * predicted * (1 - predicted))[:, None]).T @ columns
        step = torch.linalg.solve(curvature + 1e-3 * torch.eye(2, dtype=torch.float64), gradient)
        found = found + step.clamp(-2, 2)
    if found[0] < 0:
        rate = ((weights * target).sum() / weights.sum()).clamp(1e-4, 1 - 1e-4)
        return 0.0, float(torch.logit(rate))
    return float(found[0]), float(found[1])


def warped_samples(
    network: Keypointer,
    frames: Tensor,
    background: Tensor,
    noise: Tensor,
    found: Tensor,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """
    Return the log odds of keypoints in warped frames and whether they agree, (n,).

    :param background: of the frames, (N, H, W, 3) uint8
    :param noise: difference from it that noise explains, (N, 1, H, W)
    :param found: keypoints of the unwarped frames, (N, K, 2) px
    """
    generator = torch.Generator().manual_seed(seed)
    images, still = normalise(frames), normalise(background)
    hw = map_size(images)
    on_foreground = _values_at(foreground_mask(images, still, noise)[:, 0] > 0.5, found)  # (N, K)
    logits, correct = [], []
    for _ in range(ROUNDS):
        warp = random_warp(len(images), hw, WARPS, generator=generator, device=images.device)
        moved = _detect(network, warp_foreground(images, still, noise, warp))
        warped = _detect(network, warp.images(images))
        detected = torch.where(on_foreground[..., None], moved, warped)
        distance = (warp.back(detected[..., :2], hw) - found).norm(dim=-1) / diagonal_px(*hw)
        # the log odds are those of the warped frames, which are the harder ones
        visible = warp.inside(found, hw)
        logits.append(log_odds(detected[..., 2])[visible])
        correct.append((distance < TOLERANCE).float()[visible])
    return torch.cat(logits).cpu(), torch.cat(correct).cpu()


def _detect(network: Keypointer, images: Tensor) -> Tensor:
    """Return the keypoints of images in [-1, 1], (N, 3, H, W) -> (N, K, 3)."""
    found: Tensor = network(levels(images)).float()
    return found


def levels(images: Tensor) -> Tensor:
    """Return images in [-1, 1], (N, 3, H, W), as uint8, (N, H, W, 3)."""
    rounded = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return rounded.permute(0, 2, 3, 1)


def _values_at(images: Tensor, xy: Tensor) -> Tensor:
    """Return the values of images (N, H, W) at the pixels nearest to points (N, K, 2) px."""
    column, row = xy.round().long().unbind(dim=-1)
    frame = torch.arange(len(images), device=images.device)[:, None]
    height, width = images.shape[1:]
    return images[frame, row.clamp(0, height - 1), column.clamp(0, width - 1)]


def occluded_samples(
    network: Keypointer, frames: Tensor, background: Tensor, found: Tensor
) -> Tensor:
    """
    Return the log odds of keypoints whose surroundings are painted over, (n,).

    :param background: of the frames, (N, H, W, 3) uint8
    :param found: keypoints of the frames, (N, K, 2) px
    """
    count, keypoints = found.shape[:2]
    frame = torch.arange(count, device=found.device)
    logits = [torch.zeros(0)]
    for number in range(ROUNDS):
        # each round occludes another keypoint of each frame
        chosen = (frame * ROUNDS + number) % keypoints
        inside = _disc(found[frame, chosen], frames.shape[1], frames.shape[2])[..., None]
        painted = torch.where(inside, background, frames)
        change = (painted.float() - frames.float()).abs().mean(dim=-1).sum(dim=(1, 2))
        occluded = change / inside.sum(dim=(1, 2, 3)).clamp(min=1) > LEAST_CHANGE
        mass = network(painted).float()[..., 2]
        logits.append(log_odds(mass.gather(1, chosen[:, None])[:, 0])[occluded].cpu())
    return torch.cat(logits)


def _disc(centre: Tensor, height: int, width: int) -> Tensor:
    """Return the pixels within :data:`RADIUS` of points, (N, 2) px -> (N, H, W) bool."""
    row = torch.arange(height, device=centre.device)[:, None]
    column = torch.arange(width, device=centre.device)
    u, v = centre[:, 0, None, None], centre[:, 1, None, None]
    return (column - u) ** 2 + (row - v) ** 2 < (RADIUS * diagonal_px(height, width)) ** 2
