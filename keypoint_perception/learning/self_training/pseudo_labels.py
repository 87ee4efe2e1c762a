"""
The points that keypoint maps are trained on, in place of labels.

Each keypoint has at most one candidate of an image, and each candidate at most one keypoint.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.learning.self_training.clusters import APART, squared_distance
import torch
from torch import Tensor

# A keypoint is ambiguous in an image if a candidate elsewhere is within its limit and hardly
# further from it than the nearest one.
RIVAL = 1.3
# It is not in view if nothing in the image is within this many limits.
ABSENT = 1.5


class PseudoLabels(NamedTuple):
    """
    What is known of the keypoints in some images.

    :param xy: (B, K, 2), in the unit of the candidates
    :param seen: whether the keypoint is at ``xy``, (B, K) bool
    :param absent: whether it is certainly not in view, (B, K) bool; the rest is unknown
    :param keypoint: of each candidate, -1 for none, (B, N) long
    """

    xy: Tensor
    seen: Tensor
    absent: Tensor
    keypoint: Tensor


def keypoint_distance(
    descriptors: Tensor, centroids: Tensor, limit: Tensor, owner: Tensor, keypoints: int
) -> Tensor:
    """
    Return the distance from each keypoint's nearest cluster, in units of its limit, (B, N, K).

    :param descriptors: (B, N, C)
    :param limit: of each cluster, (M,), like ``owner``, its keypoint or -1
    """
    relative = squared_distance(descriptors, centroids).sqrt() / limit.clamp(min=1e-6)
    found = torch.full((*relative.shape[:-1], keypoints + 1), torch.inf, device=relative.device)
    index = torch.where(owner < 0, keypoints, owner).expand_as(relative)
    return found.scatter_reduce(-1, index, relative, 'amin')[..., :-1]


def find_labels(distance: Tensor, xy: Tensor, others: Tensor) -> PseudoLabels:
    """
    Choose a candidate for each keypoint, where one is within its limit and beyond doubt.

    It must be nearer to this keypoint than to any other, and no candidate elsewhere may be nearly
    as near.

    :param distance: of the candidates from the keypoints, (B, N, K)
    :param xy: of the candidates, longer image sides, NaN where there is none, (B, N, 2)
    :param others: distances of further points, which only tell that a keypoint is in view
    """
    keypoints = torch.arange(distance.shape[-1], device=distance.device)
    distance = torch.where(xy.isfinite().all(dim=-1, keepdim=True), distance, torch.inf)
    best, index = distance.min(dim=1)  # (B, K)
    place = xy.gather(1, index[..., None].expand(-1, -1, 2))
    own = distance.argmin(dim=-1).gather(1, index) == keypoints
    away = torch.cdist(xy.nan_to_num(9.0), place.nan_to_num(-9.0))  # (B, N, K)
    rival = torch.where(away > APART, distance, torch.inf).amin(dim=1)
    seen = (best <= 1) & own & ((rival > 1) | (rival > RIVAL * best))
    least = torch.minimum(best, others.amin(dim=1)) if others.shape[1] else best
    absent = best.isfinite() & (least > ABSENT)
    # one more column takes those without a candidate
    keypoint = torch.full((*xy.shape[:-2], xy.shape[-2] + 1), -1, device=xy.device)
    keypoint.scatter_(1, torch.where(seen, index, xy.shape[-2]), keypoints.expand_as(index))
    return PseudoLabels(place, seen, absent, keypoint[:, :-1])
