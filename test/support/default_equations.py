"""The terms of the default objective by its equations, in plain steps."""

from keypoint_perception.learning.data.foreground import foreground_map
from keypoint_perception.learning.data.photometric import jitter_colours
from keypoint_perception.learning.data.warps import random_warp, WarpConfig
from keypoint_perception.learning.motion_losses import (
    flow_error,
    map_divergence,
    warp_error,
    warp_foreground,
)
from keypoint_perception.learning.reconstruction import motion_weight
from keypoint_perception.model.heatmaps import gaussian_maps, variance
import torch
from torch.nn import functional

HW = (8, 12)


def default_terms(objective, batch, differences):
    """
    Return the terms of three pairs, each (3,).

    :param differences: of the reconstructed frames from their backgrounds, (6, 3, 64, 96)
    """
    config, background, noise = objective.config, batch.extra['background'], batch.extra['noise']
    weight = motion_weight(batch.image0, batch.image1, config.still_weight).repeat(2, 1, 1, 1)
    error = weight * (differences + background - batch.images) ** 2 / objective.change
    cells = functional.avg_pool2d(error.mean(dim=1, keepdim=True), 8)
    pixel = of_pairs(cells.mean(dim=(1, 2, 3)))
    focus = of_pairs(cells.square().mean(dim=(1, 2, 3)).sqrt())
    explained = (1 - 2 * pixel.detach()).clamp(min=0)

    maps, points = batch.maps, batch.points
    foreground = foreground_map(batch.images, background, noise, HW)
    on = (maps * foreground[:, None]).sum(dim=(2, 3))
    settled, amount = on.detach(), foreground.sum(dim=(1, 2))
    bumps = gaussian_maps(points, *HW, 6 * config.sigma)
    bare = foreground * (1 - bumps).prod(dim=1)
    pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
    shared = sum((maps[:, j] * maps[:, k]).sum(dim=(1, 2)) for j, k in pairs)
    wide = (variance(maps, points) - 2 * 0.6**2).clamp(min=0) / 36
    steep = (_steepness(batch.logits) - 1 / (2 * 0.6**2)).clamp(min=0)

    earlier = torch.stack([maps[i if f else i + 3] for i, f in enumerate(batch.extra['forward'])])
    sign = torch.where(batch.extra['forward'], 1, -1)[:, None, None]
    moved = sign * (points[3:] - points[:3])
    flow = flow_error(earlier, moved, batch.extra['flow'] / 8)
    turn, agree = _turned(objective, batch)
    return {
        'pixel': pixel,
        'focus': focus,
        'spread': explained * of_pairs((settled * wide).mean(dim=1)),
        'peak': of_pairs((settled * steep).mean(dim=1)),
        'aside': of_pairs((1 - on.mean(dim=1)) * amount / (amount + 1)),
        'uncovered': of_pairs(bare.sum(dim=(1, 2)) / (amount + 1)),
        'overlap': of_pairs(shared / 3),
        'flow': (torch.minimum(settled[:3], settled[3:]) * flow).mean(dim=1),
        'turn': explained * (settled[:3] * turn).mean(dim=1),
        'agree': explained * (settled[:3] * agree).mean(dim=1),
    }


def of_pairs(values):
    """Return the means over the two frames of each pair, (6,) -> (3,)."""
    return (values[:3] + values[3:]) / 2


def _steepness(logits):
    found = []
    for sample in logits.flatten(0, 1):
        row, column = divmod(int(sample.argmax()), 12)
        beside = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        around = [sample[min(max(r, 0), 7), min(max(c, 0), 11)] for r, c in beside]
        found.append(sample[row, column] - sum(around) / 4)
    return torch.stack(found).view(6, 3)


def _turned(objective, batch):
    """Return the errors of the keypoints, and of their maps, of turned first frames."""
    config = objective.config
    background, noise = batch.extra['background'][:3], batch.extra['noise'][:3]
    warp = random_warp(3, (64, 96), WarpConfig(config.angle, scale=0.2, shift=0.0, bend=0.0))
    onto = background[[2, 0, 1]] if config.swap_backgrounds else background
    turned = warp_foreground(batch.image0, background, noise, warp, onto=onto)
    logits = batch.network.logits(jitter_colours(turned, config.colour))
    points = batch.points[:3]
    turn = warp_error(points, batch.network.points(logits), warp, HW)
    return turn, map_divergence(points.detach(), logits, warp, 0.6)
