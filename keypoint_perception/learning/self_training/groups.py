"""
Groups of clusters, and the choice of those that become keypoints.

A point looks different from different sides, so clusters are fine and are joined where they are
the same point: a point that is followed passes from one to the other, or both lie at the same
place of most images (Mallis et al. 2020), and they are never seen at two places of one image. The
merit of a group is a product of four numbers in [0, 1]::

    seen    root of the share of the images that have a member
    alone   share of those in which no second member lies elsewhere
    stays   share of the followed members that are members again
    moves   s^2 / (s^2 + 0.03^2), s the standard deviation of the members' positions in the frames

Corners of a tiled floor are seen everywhere but never alone; points of noise do not stay; what
never moves in the image, such as the camera's own mount, explains nothing. Groups are chosen one
after the other, and lose merit where they lie close to one that is chosen already.
"""

from __future__ import annotations

from typing import NamedTuple

from keypoint_perception.learning.self_training.clusters import (
    APART,
    Members,
    passes,
    Samples,
)
import torch
from torch import Tensor

# Clusters are joined if this share of the followed members of the rarer one is in the other, or if
# they are at the same place in this share of its images.
JOINED_BY_MOTION, JOINED_BY_PLACE = 0.2, 0.7
# Two clusters that are seen at two places in more than this share of the images with both differ.
TWO_PLACES = 0.1
# Longer image sides: what counts as one place, the motion at which ``moves`` is a half, and the
# distance within which a group is close to another.
SAME_PLACE, MOTION, CLOSE = 0.04, 0.03, 0.12
# Merit that a group keeps if it always lies at the place of another.
LEFT = 0.3


class Merit(NamedTuple):
    """How well each group is suited as a keypoint, (M,) each; 0 if it has no members."""

    seen: Tensor
    alone: Tensor
    stays: Tensor
    moves: Tensor

    @property
    def total(self) -> Tensor:
        """Return the product."""
        return self.seen * self.alone * self.stays * self.moves


def join(moved: Tensor, where: Tensor) -> Tensor:
    """
    Return the group of each cluster, which is the number of one of its clusters, (M,) long.

    :param moved: of :func:`.clusters.passes`
    :param where: of :func:`.clusters.places`
    """
    count = where.shape[1]
    seen = where.isfinite().all(dim=-1)  # (S, M)
    images, both = seen.sum(dim=0), seen.float().T @ seen.float()
    away = torch.stack([(where - where[:, a : a + 1]).norm(dim=-1) for a in range(count)])
    near, far = ((away <= SAME_PLACE).sum(dim=1), (away > APART).sum(dim=1))  # NaN is neither
    followed = (moved + moved.T)[:count, :count]
    total = followed.sum(dim=0)
    by_motion = followed / torch.minimum(total[:, None], total).clamp(min=1)
    by_place = near / torch.minimum(images[:, None], images).clamp(min=1)
    alike = (by_motion > JOINED_BY_MOTION) | (by_place > JOINED_BY_PLACE)
    alike &= (far <= TWO_PLACES * both) & (images[:, None] > 0) & (images > 0)
    group = torch.arange(count, device=where.device)
    pairs = alike.triu(diagonal=1).nonzero()
    strength = (by_motion + by_place)[pairs[:, 0], pairs[:, 1]]
    for first, second in pairs[strength.argsort(descending=True)].tolist():
        a, b = int(group[first]), int(group[second])
        # of larger groups, most clusters must be alike, or a chain of neighbours would be one
        if a != b and float(alike[group == a][:, group == b].float().mean()) >= 0.5:
            group[group == b] = a
    return group


def merit(samples: Samples, members: Members, where: Tensor, more: Tensor) -> Merit:
    """
    Return the merit of groups.

    :param members: the group of each candidate
    :param where: of :func:`.clusters.places` with groups, like ``more``
    """
    count = where.shape[1]
    present = where.isfinite().all(dim=-1)
    images = present.sum(dim=0).clamp(min=1)
    shown = samples.xy.isfinite().all(dim=-1).any(dim=1).sum().clamp(min=1)
    moved = passes(members, samples.links, count)
    both_ends = moved[:count].sum(dim=1) + moved[:, :count].sum(dim=0)
    stays = 2 * moved.diagonal()[:count] / both_ends.clamp(min=1)
    variance = _variance(samples.frame_xy, members.group, count)
    return Merit(
        (present.sum(dim=0) / shown).sqrt(),
        1 - more.sum(dim=0) / images,
        stays,
        variance / (variance + MOTION**2),
    )


def _variance(xy: Tensor, group: Tensor, count: int) -> Tensor:
    """Return the variance of the members' positions, the sum of both axes, (M,)."""
    inside = (group >= 0) & xy.isfinite().all(dim=-1)
    points, group = xy[inside], group[inside]
    number = torch.zeros(count, device=xy.device).index_add_(
        0, group, torch.ones(len(group), device=xy.device)
    )
    zeros = torch.zeros(count, 2, device=xy.device)
    mean = zeros.index_add(0, group, points) / number.clamp(min=1)[:, None]
    square = zeros.index_add(0, group, (points - mean[group]).square())
    return square.sum(dim=-1) / number.clamp(min=1)


def choose(total: Tensor, where: Tensor, count: int) -> list[int]:
    """
    Return the groups of the most merit, at most ``count``, the best first.

    :param total: merit of each group, (M,)
    :param where: its place in each image, NaN where it has none, (S, M, 2)
    """
    total, chosen = total.clone(), list[int]()
    left = torch.ones_like(total)
    while len(chosen) < count and float((total * left).max()) > 0:
        best = int((total * left).argmax())
        chosen.append(best)
        total[best] = 0
        square = (where - where[:, best : best + 1]).square().sum(dim=-1)  # (S, M)
        closeness = torch.exp(-square / (2 * CLOSE**2))
        both = closeness.isfinite()
        mean = closeness.nan_to_num(0.0).sum(dim=0) / both.sum(dim=0).clamp(min=1)
        left = torch.minimum(left, 1 - (1 - LEFT) * mean)
    return chosen
