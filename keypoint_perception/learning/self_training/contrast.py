"""
Losses of descriptors, and which candidates are peculiar by theirs.

All negatives of a point are in one image, where two places are certainly two points; in another
image, the place that looks alike may be the same point.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Other candidates this far from a point are negatives, and random places from further away, in
# longer image sides. (Mallis et al. 2022: 5.7 of 64 cells.)
NEAR_CANDIDATE, NEAR_PLACE = 0.03, 0.09
EPSILON = 1e-6


def negatives(xy: Tensor, candidates: Tensor, others: Tensor) -> Tensor:
    """
    Return which points of an image are negatives of some of its points, (B, P, N + R) bool.

    :param xy: the points, (B, P, 2), in longer image sides like the rest; NaN where there is none
    :param candidates: (B, N, 2), NaN where there is none
    :param others: random places, (B, R, 2)
    """
    every = torch.cat([candidates, others], dim=1)
    away = torch.cdist(xy.nan_to_num(-9.0), every.nan_to_num(-9.0))
    least = torch.full((every.shape[1],), NEAR_PLACE, device=xy.device)
    least[: candidates.shape[1]] = NEAR_CANDIDATE
    known = xy.isfinite().all(dim=-1)[..., None] & every.isfinite().all(dim=-1)[:, None]
    return known & (away > least)


def match_loss(
    anchors: Tensor, partners: Tensor, rest: Tensor, negative: Tensor, temperature: float
) -> Tensor:
    """
    Return how badly a point is told from the rest of an image by its descriptor, (B, P).

    With f the descriptor of a point in one view, f' that in another, and n those of other places
    of the other view::

        -log exp(f.f' / T) / (exp(f.f' / T) + sum_n exp(f.n / T))

    and likewise with f' in place of f in the products with n, both in equal parts.

    :param anchors: (B, P, C), like ``partners``, of length one
    :param rest: of other places of the partners' images, (B, R, C)
    :param negative: which of the rest count for which point, (B, P, R) bool
    """
    right = (anchors * partners).sum(dim=-1, keepdim=True) / temperature
    total = torch.zeros_like(right[..., 0])
    for points in (anchors, partners):
        wrong = points @ rest.transpose(1, 2) / temperature
        wrong = wrong.masked_fill(~negative, -torch.inf)
        both = torch.cat([right, wrong], dim=-1)
        total = total + both.logsumexp(dim=-1) - right[..., 0]
    return total / 2


def gather_loss(descriptors: Tensor, keypoint: Tensor) -> Tensor:
    """
    Return the mean squared distance of descriptors of one keypoint in different images, ().

    :param descriptors: (B, N, C), of length one
    :param keypoint: of each, -1 for none, (B, N)
    """
    image, index = (keypoint >= 0).nonzero(as_tuple=True)
    points, keypoint = descriptors[image, index], keypoint[image, index]
    pairs = (keypoint[:, None] == keypoint) & (image[:, None] != image)
    square = 2 - 2 * points @ points.T
    return (square * pairs).sum() / pairs.sum().clamp(min=1)


def peculiarity(responses: Tensor) -> Tensor:
    """
    Return D2-Net's score of points by the responses around them, (B, N).

    Dusmanu et al.: D2-Net: A trainable CNN for joint description and detection of local features,
    2019, https://arxiv.org/abs/1905.03561. With F the responses, non-negative, at a point and the
    eight places around it::

        alpha_c = exp(F_c / max F) / sum over the nine places of exp(F_c / max F)
        beta_c  = F_c / max_c F_c
        score   = max_c alpha_c beta_c

    A point stands out if one of its responses is the largest of all and larger than around it.

    :param responses: before the descriptors' length is made one, (B, N, 9, C), the point first
    """
    positive = responses.clamp(min=0)
    scaled = (positive / positive.amax(dim=(1, 2, 3), keepdim=True).clamp(min=EPSILON)).exp()
    alpha = scaled[:, :, 0] / scaled.sum(dim=2)
    beta = positive[:, :, 0] / positive[:, :, 0].amax(dim=-1, keepdim=True).clamp(min=EPSILON)
    return (alpha * beta).amax(dim=-1)
